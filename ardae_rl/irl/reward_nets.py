"""Reward functions represented by neural networks."""

from dataclasses import fields
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
)
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from ardae_rl.common.checks import check_between, check_choice
from ardae_rl.common.squashed import scale_actions
from ardae_rl.irl.mlp import MLPOptions
from ardae_rl.irl.regularization import Points
from ardae_rl.irl.transitions import Transitions, n_rows, row_blocks

INPUTS = ("state", "state_action", "state_next_state", "state_action_next_state")
_MAX_FEATURE = 10.0  # standard deviations
_MIN_RELATIVE_STD = 1e-2
_ROUNDING = 1e-6  # relative rounding error of float32


class RewardNet(BaseModel):
    """Base class of reward functions r(s, a, s') of transitions.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.irl import RewardNet
    >>> class Effort(RewardNet):
    ...     def forward(self, observations, actions, next_observations, terminated):
    ...         return -self.action_inputs(actions).square().sum(-1)
    >>> env = gym.make("Pendulum-v1")
    >>> Effort(env.observation_space, env.action_space).predict([[1.0, 0.0, 0.0]], [[2.0]], [[1.0, 0.0, 0.3]], [0])
    array([-1.], dtype=float32)

    :param observation_space: Observation space of the environment. Images must be channels-first.
    :param action_space: Action space of the environment: discrete, or a bounded box, whose actions are rescaled to
        [-1, 1] for the network.
    :param features_extractor_class: Class of the features extractor; None for SB3's default one.
    :param features_extractor_kwargs: Keyword arguments of the features extractor.
    :param normalize_images: Whether to divide images by 255.
    """

    # Buffers, which are saved with the network
    action_limit: th.Tensor  # actions of a box are rescaled to [-1, 1] and then clipped to [-limit, limit]
    has_absorbing_state: th.Tensor  # 1 if the last entry of an observation marks an absorbing state, otherwise 0

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
    ) -> None:
        if features_extractor_class is None:
            features_extractor_class = _default_extractor(observation_space)
        super().__init__(
            observation_space, action_space, features_extractor_class, features_extractor_kwargs, None, normalize_images
        )
        self.features_extractor: BaseFeaturesExtractor = self.make_features_extractor()
        self.register_buffer("action_limit", th.ones(()))
        self.register_buffer("has_absorbing_state", th.zeros(()))

    def forward(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs, terminated: th.Tensor
    ) -> th.Tensor:
        """Return the rewards of n transitions, shape (n,).

        :param observations: Observations as ``obs_to_tensor`` returns them, n rows.
        :param actions: Actions in the environment's range, shape (n, ...).
        :param next_observations: Observations that the actions led to, n rows.
        :param terminated: 1 where the next observation is a terminal state, shape (n,).
        """
        raise NotImplementedError

    @th.no_grad()
    def predict(self, observations: Any, actions: Any, next_observations: Any, terminated: Any) -> NDArray[np.float32]:
        """Return the rewards of n transitions given as arrays, as environments return them, shape (n,)."""
        before, after = (self.obs_to_tensor(_as_arrays(part))[0] for part in (observations, next_observations))
        action_tensor = th.as_tensor(np.asarray(actions), device=self.device)
        is_terminal = th.as_tensor(np.asarray(terminated), dtype=th.float32, device=self.device)
        reward: NDArray[np.float32] = self(before, action_tensor, after, is_terminal).cpu().numpy()
        return reward

    def fit_normalizer(self, observations: PyTorchObs) -> None:
        """Fit the normalization of inputs to observations; the base class does nothing."""

    def features(self, observations: PyTorchObs) -> th.Tensor:
        """Return the extracted features, shape (n, features_dim)."""
        return self.extract_features(observations, self.features_extractor)

    def action_inputs(self, actions: th.Tensor) -> th.Tensor:
        """Return actions as inputs of the network, shape (n, dim): rescaled to [-1, 1] and clipped, or one-hot."""
        space = self.action_space
        if isinstance(space, spaces.Discrete):
            return nn.functional.one_hot(actions.long().flatten() - int(space.start), int(space.n)).float()
        assert isinstance(space, spaces.Box)
        return scale_actions(actions, space).clamp(-self.action_limit, self.action_limit)

    def absorbed(self, observations: PyTorchObs) -> th.Tensor:
        """Return 1 for observations of an absorbing state, where actions have no effect, else 0, shape (n,)."""
        if isinstance(observations, dict) or observations.dim() != 2:
            return self.has_absorbing_state.new_zeros(n_rows(observations))
        return self.has_absorbing_state * observations[:, -1].float()

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
        }


class BasicRewardNet(RewardNet):
    """Reward function that is a multilayer perceptron of states and actions.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.irl import BasicRewardNet
    >>> env = gym.make("Pendulum-v1")
    >>> reward_net = BasicRewardNet(env.observation_space, env.action_space, inputs="state", hidden=(32,), dropout=0.5)
    >>> reward_net.predict([[1.0, 0.0, 0.0]], [[2.0]], [[1.0, 0.0, 0.3]], [0]).shape
    (1,)

    :param observation_space: Observation space of the environment.
    :param action_space: Action space of the environment.
    :param inputs: "state" (the state before the action), "state_action", "state_next_state" or
        "state_action_next_state".
    :param kwargs: Options of the perceptron, :class:`~ardae_rl.irl.mlp.MLPOptions`, and further keyword arguments of
        :class:`RewardNet`.
    :raises ValueError: For arguments out of range.
    """

    center: th.Tensor
    scale: th.Tensor
    max_feature: th.Tensor  # infinite for learned features

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        inputs: str = "state_action",
        **kwargs: Any,
    ) -> None:
        names = {field.name for field in fields(MLPOptions)}
        extractor = {name: value for name, value in kwargs.items() if name not in names}
        super().__init__(observation_space, action_space, **extractor)
        check_choice("inputs", inputs, INPUTS)
        self.inputs = inputs
        self.options = MLPOptions(**{name: value for name, value in kwargs.items() if name in names})
        is_learned = _learned_features(self.features_extractor, observation_space)
        n_features = len(is_learned)
        self.register_buffer("center", th.zeros(n_features))
        self.register_buffer("scale", th.ones(n_features))
        self.register_buffer("max_feature", th.where(is_learned, th.inf, _MAX_FEATURE), persistent=False)
        n_actions = _action_dim(action_space) if "action" in inputs else 0
        n_states = 2 if "next_state" in inputs else 1
        self.network = self.options.make(n_states * n_features + n_actions)
        self.eval()  # dropout is active only in the discriminator's rounds

    @property
    def needs_next_state(self) -> bool:
        """Whether the reward depends on the next state."""
        return "next_state" in self.inputs

    def forward(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs, terminated: th.Tensor
    ) -> th.Tensor:
        return self.reward_of(self.encode(Transitions(observations, actions, next_observations, terminated)))

    def encode(self, transitions: Transitions, log_q: th.Tensor | None = None) -> Points:
        """Return transitions as inputs of the perceptron. In an absorbing state, actions are zero.

        :param log_q: ln q of the transitions, which is passed on unchanged, shape (n,); zeros by default.
        """
        features = self.normalized_features(transitions.observations)
        next_features = self.normalized_features(transitions.next_observations) if self.needs_next_state else features
        log_q = th.zeros_like(transitions.terminated) if log_q is None else log_q
        acts = 1 - self.absorbed(transitions.observations).unsqueeze(1)
        actions = acts * self.action_inputs(transitions.actions)
        return Points(features, actions, next_features, transitions.terminated, log_q)

    def reward_of(self, points: Points) -> th.Tensor:
        """Return the rewards of encoded transitions, shape (n,)."""
        return self.unshaped_of(points)

    def unshaped_of(self, points: Points) -> th.Tensor:
        """Return the output of the perceptron, shape (n,)."""
        parts = [points.features]
        if "action" in self.inputs:
            parts.append(points.actions)
        if "next_state" in self.inputs:
            parts.append(points.next_features)
        reward: th.Tensor = self.network(th.cat(parts, -1)).squeeze(-1)
        return reward

    def normalized_features(self, observations: PyTorchObs) -> th.Tensor:
        """Return features normalized by :meth:`fit_normalizer` and clipped, shape (n, features_dim)."""
        return ((self.features(observations) - self.center) / self.scale).clamp(-self.max_feature, self.max_feature)

    @th.no_grad()
    def fit_normalizer(self, observations: PyTorchObs) -> None:
        """Set the normalization so that the features of these observations have mean 0 and standard deviation 1.

        Features whose standard deviation is below a hundredth of the median are divided by the median instead, so all
        entries of an observation should have similar units. Features of an extractor with parameters, such as those of
        images, are not normalized, because training changes them.
        """
        is_fixed = self.max_feature.isfinite()
        if not is_fixed.any():
            return
        features = th.cat([self.features(part)[:, is_fixed] for part in row_blocks(observations)])
        self.center[is_fixed] = features.mean(0)
        self.scale[is_fixed] = unmagnified(features.std(0), features.abs().amax(0))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"inputs": self.inputs} | self.options.as_kwargs()


class ShapedRewardNet(BasicRewardNet):
    """Reward f = g + γ h(s') - h(s): a reward g, and a potential h that absorbs shaping due to the dynamics.

    In terminal states s', h(s') counts as 0.

    Reference: Fu, Luo and Levine (2018), Learning robust rewards with adversarial inverse reinforcement learning,
    https://arxiv.org/abs/1710.11248, Eq. 4.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.irl import ShapedRewardNet
    >>> env = gym.make("Pendulum-v1")
    >>> reward_net = ShapedRewardNet(env.observation_space, env.action_space, inputs="state", gamma=0.9)
    >>> reward_net.predict([[1.0, 0.0, 0.0]], [[2.0]], [[1.0, 0.0, 0.3]], [0]).shape
    (1,)

    :param observation_space: Observation space of the environment.
    :param action_space: Action space of the environment.
    :param inputs: Inputs of g; "state" for a reward that transfers to other dynamics.
    :param gamma: Discount factor γ.
    :param kwargs: Further keyword arguments of :class:`BasicRewardNet`; g and h have the same architecture.
    :raises ValueError: For arguments out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        inputs: str = "state_action",
        gamma: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, inputs, **kwargs)
        check_between("gamma", gamma, 0, 1)
        self.gamma = gamma
        self.potential = self.options.make(len(self.center))
        self.eval()

    @property
    def needs_next_state(self) -> bool:
        return True

    def reward_of(self, points: Points) -> th.Tensor:
        next_potential = (1 - points.terminated) * self.potential(points.next_features).squeeze(-1)
        shaping: th.Tensor = self.gamma * next_potential - self.potential(points.features).squeeze(-1)
        return self.unshaped_of(points) + shaping

    def unshaped(
        self, observations: PyTorchObs, actions: th.Tensor, next_observations: PyTorchObs | None = None
    ) -> th.Tensor:
        """Return g alone, shape (n,): the reward to use under other dynamics, for which h was not learned.

        :param observations: Observations as ``obs_to_tensor`` returns them, n rows.
        :param actions: Actions in the environment's range, shape (n, ...).
        :param next_observations: Observations that the actions led to, n rows, if g depends on them.
        :raises ValueError: If g depends on the next observations, and they are not given.
        """
        if next_observations is None:
            if "next_state" in self.inputs:
                raise ValueError(f"`next_observations` must be given for the inputs {self.inputs!r}, got None")
            next_observations = observations
        terminated = th.zeros(len(actions), device=self.center.device)
        return self.unshaped_of(self.encode(Transitions(observations, actions, next_observations, terminated)))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"gamma": self.gamma}


def unmagnified(std: th.Tensor, magnitude: th.Tensor) -> th.Tensor:
    """Return the standard deviations, with those of nearly constant features replaced by the median of the others.

    Otherwise, a flag that is never set in the demonstrations would become a huge input when the samples set it. A
    feature is nearly constant if its standard deviation is less than a hundredth of the median.

    :param std: Standard deviations, shape (n_features,).
    :param magnitude: Largest absolute values, shape (n_features,).
    """
    varying = std > _ROUNDING * magnitude
    typical = std[varying].median() if varying.any() else std.new_ones(())
    return th.where(std > _MIN_RELATIVE_STD * typical, std, typical)


def _learned_features(extractor: BaseFeaturesExtractor, space: spaces.Space[Any]) -> th.Tensor:
    """Return a mask of the features that depend on trainable parameters, shape (features_dim,)."""
    parts: dict[str, nn.Module] = {"": extractor}
    dims = {"": extractor.features_dim}
    if isinstance(extractor, CombinedExtractor) and isinstance(space, spaces.Dict):
        parts = dict(extractor.extractors.items())
        dims = {key: getattr(part, "features_dim", get_flattened_obs_dim(space[key])) for key, part in parts.items()}
    has_parameters = [any(True for _ in part.parameters()) for part in parts.values()]
    return th.tensor(has_parameters).repeat_interleave(th.tensor(list(dims.values())))


def _as_arrays(observations: Any) -> Any:
    if isinstance(observations, dict):
        return {name: np.asarray(value) for name, value in observations.items()}
    return np.asarray(observations)


def _default_extractor(space: spaces.Space[Any]) -> type[BaseFeaturesExtractor]:
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_image_space(space) else FlattenExtractor


def _action_dim(space: gym.Space[Any]) -> int:
    if isinstance(space, (spaces.Box, spaces.Discrete)):
        return get_flattened_obs_dim(space)
    raise ValueError(f"`action_space` must be a Box or a Discrete space, got {space}")
