"""Rewards as networks."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

INPUTS = ("state", "state_action")


class RewardNet(BaseModel):
    """r(s, a, s') of transitions; the base of those below.

    :param observation_space: of the environment, pictures with their channels first
    :param action_space: bounded, which the network has in [-1, 1], or discrete
    :param features_extractor_class: None for SB3's usual one of such observations
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
    ) -> None:
        if features_extractor_class is None:
            features_extractor_class = _usual_extractor(observation_space)
        super().__init__(
            observation_space, action_space, features_extractor_class, features_extractor_kwargs, None, normalize_images
        )
        self.features_extractor = self.make_features_extractor()

    def forward(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs, terminated: th.Tensor
    ) -> th.Tensor:
        """Rewards, (n).

        :param observations: as ``obs_to_tensor`` gives them, n rows
        :param actions: in the environment's range, (n, ...)
        :param next_observations: as ``observations``
        :param terminated: (n), 1 where ``next_observations`` are terminal
        """
        raise NotImplementedError

    @th.no_grad()
    def predict(self, observations: Any, actions: Any, next_observations: Any, terminated: Any) -> NDArray[np.float32]:
        """:meth:`forward` of arrays as environments give them, n rows."""
        inputs = self.obs_to_tensor(observations)[0], self.obs_to_tensor(next_observations)[0]
        acted = th.as_tensor(np.asarray(actions), device=self.device)
        ends = th.as_tensor(np.asarray(terminated), dtype=th.float32, device=self.device)
        reward: NDArray[np.float32] = self(inputs[0], acted, inputs[1], ends).cpu().numpy()
        return reward

    def features(self, observations: PyTorchObs) -> th.Tensor:
        """(n, features_dim)"""
        assert self.features_extractor is not None
        return self.extract_features(observations, self.features_extractor)

    def action_inputs(self, actions: th.Tensor) -> th.Tensor:
        """Actions as the network has them, (n, dim): scaled to [-1, 1], or one-hot."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return nn.functional.one_hot(actions.long().flatten() - int(space.start), int(space.n)).float()
        assert isinstance(space, spaces.Box)
        low, high = (
            th.as_tensor(bound, dtype=th.float32, device=actions.device).flatten() for bound in (space.low, space.high)
        )
        return 2 * (actions.float().flatten(1) - low) / (high - low) - 1

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }


class BasicRewardNet(RewardNet):
    """A perceptron of state and action, or of the state alone.

    :param inputs: "state" (the state that is left) or "state_action"
    :param hidden: widths
    :param activation_fn: activation function
    :raises ValueError: for other inputs
    """

    centre: th.Tensor
    scale: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        inputs: str = "state_action",
        hidden: Sequence[int] = (64, 64),
        activation_fn: type[nn.Module] = nn.ReLU,
        **extractor: Any,
    ) -> None:
        super().__init__(observation_space, action_space, **extractor)
        if inputs not in INPUTS:
            raise ValueError(f"inputs={inputs!r}: accepted are {', '.join(map(repr, INPUTS))}")
        self.inputs, self.hidden, self.activation_fn = inputs, tuple(hidden), activation_fn
        n = self.features_extractor.features_dim  # type: ignore[union-attr]
        self.register_buffer("centre", th.zeros(n))
        self.register_buffer("scale", th.ones(n))
        n_actions = _action_dim(action_space) if inputs == "state_action" else 0
        self.network = nn.Sequential(*create_mlp(n + n_actions, 1, list(hidden), activation_fn))

    def forward(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs, terminated: th.Tensor
    ) -> th.Tensor:
        return self.of_features(self.standardised(observations), actions)

    def of_features(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """The same of :meth:`standardised` features."""
        parts = [features] if self.inputs == "state" else [features, self.action_inputs(actions)]
        reward: th.Tensor = self.network(th.cat(parts, -1)).squeeze(-1)
        return reward

    def standardised(self, observations: PyTorchObs) -> th.Tensor:
        """Features in the units of :meth:`observe`."""
        return (self.features(observations) - self.centre) / self.scale

    @th.no_grad()
    def observe(self, observations: PyTorchObs) -> None:
        """Have the features of these observations with mean 0 and deviation 1, once and for all."""
        features = self.features(observations)
        self.centre.copy_(features.mean(0))
        self.scale.copy_(features.std(0).clamp_min(1e-3))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"inputs": self.inputs, "hidden": self.hidden, "activation_fn": self.activation_fn}
        return super()._get_constructor_parameters() | own


class ShapedRewardNet(BasicRewardNet):
    """f = g + γ h(s') - h(s): a reward, and a potential that takes up what depends on the dynamics.

    Reference: Fu, Luo and Levine (2018), Learning robust rewards with adversarial inverse reinforcement learning,
    https://arxiv.org/abs/1710.11248, Eq. 4.

    :param inputs: of g; "state" for rewards that hold under other dynamics
    :param gamma: γ
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        inputs: str = "state_action",
        hidden: Sequence[int] = (64, 64),
        activation_fn: type[nn.Module] = nn.ReLU,
        gamma: float = 0.99,
        **extractor: Any,
    ) -> None:
        super().__init__(observation_space, action_space, inputs, hidden, activation_fn, **extractor)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma={gamma!r}: accepted are numbers from 0 to 1")
        self.gamma = gamma
        self.potential = nn.Sequential(*create_mlp(len(self.centre), 1, list(hidden), activation_fn))

    def forward(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs, terminated: th.Tensor
    ) -> th.Tensor:
        features, following = self.standardised(observations), self.standardised(next_observations)
        after = (1 - terminated) * self.potential(following).squeeze(-1)
        shaping: th.Tensor = self.gamma * after - self.potential(features).squeeze(-1)
        return self.of_features(features, actions) + shaping

    def unshaped(self, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """g alone, (n)."""
        return self.of_features(self.standardised(observations), actions)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"gamma": self.gamma}


def _usual_extractor(space: spaces.Space[Any]) -> type[BaseFeaturesExtractor]:
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_image_space(space) else FlattenExtractor


def _action_dim(space: gym.Space[Any]) -> int:
    if isinstance(space, (spaces.Box, spaces.Discrete)):
        return get_flattened_obs_dim(space)
    raise ValueError(f"action_space={space}: accepted are Box and Discrete spaces")
