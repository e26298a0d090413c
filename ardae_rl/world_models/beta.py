"""Policies with Beta distributions, for on-policy algorithms in bounded action spaces."""

import math
from functools import partial
from typing import Any, Self

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.type_aliases import Schedule
from torch import nn
from torch.nn import functional as F

_MARGIN = 1e-6  # keeps the log-density finite at the bounds


class BetaDistribution(Distribution):
    """Independent Beta distributions on [-1, 1], with both parameters above 1, so that each has one mode.

    A normal distribution whose samples are clipped puts mass on actions that are never executed, which biases the
    gradient near the bounds (Chou, Maturana and Scherer 2017).

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.beta import BetaDistribution
    >>> distribution = BetaDistribution(2).proba_distribution(th.zeros(1, 4))  # symmetric
    >>> distribution.mode(), distribution.log_prob(th.zeros(1, 2)).shape
    (tensor([[0., 0.]]), torch.Size([1]))

    :param action_dim: Dimension of the actions.
    """

    def __init__(self, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim

    def proba_distribution_net(self, latent_dim: int) -> nn.Module:
        """Return a layer that maps features to parameters."""
        return nn.Linear(latent_dim, 2 * self.action_dim)

    def proba_distribution(self, parameters: th.Tensor) -> Self:
        """Set α and β of all distributions to 1 + softplus of the parameters, (batch, 2 action_dim)."""
        above, below = (1 + F.softplus(parameters)).chunk(2, dim=1)
        self.distribution: th.distributions.Beta = th.distributions.Beta(above, below)
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Return log-densities (batch,) of actions (batch, action_dim) in [-1, 1]."""
        shares = (0.5 * (actions + 1)).clamp(_MARGIN, 1 - _MARGIN)
        return self.distribution.log_prob(shares).sum(1) - self.action_dim * math.log(2)

    def entropy(self) -> th.Tensor:
        """Return entropies (batch,)."""
        return self.distribution.entropy().sum(1) + self.action_dim * math.log(2)

    def sample(self) -> th.Tensor:
        return 2 * self.distribution.rsample() - 1

    def mode(self) -> th.Tensor:
        """Return the most probable actions."""
        above, below = self.distribution.concentration1 - 1, self.distribution.concentration0 - 1
        return (above - below) / (above + below)

    def actions_from_params(self, parameters: th.Tensor, deterministic: bool = False) -> th.Tensor:
        return self.proba_distribution(parameters).get_actions(deterministic)

    def log_prob_from_params(self, parameters: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        actions = self.actions_from_params(parameters)
        return actions, self.log_prob(actions)


class BetaPolicy(ActorCriticPolicy):
    """SB3's actor-critic policy with a :class:`BetaDistribution`, for actions in [-1, 1].

    Example:

    >>> import gymnasium as gym
    >>> from gymnasium.wrappers import RescaleAction
    >>> from stable_baselines3 import PPO
    >>> from ardae_rl.world_models.beta import BetaPolicy
    >>> model = PPO(BetaPolicy, RescaleAction(gym.make("Pendulum-v1"), -1, 1), n_steps=64).learn(64)

    :raises ValueError: If the action space is not a Box of [-1, 1].
    """

    def _build(self, lr_schedule: Schedule) -> None:
        space = self.action_space
        if not (isinstance(space, spaces.Box) and (space.low == -1).all() and (space.high == 1).all()):
            raise ValueError(f"`action_space` must be a Box of [-1, 1] for Beta distributions, got {space}")
        self._build_mlp_extractor()
        self.action_dist: Any = BetaDistribution(get_action_dim(space))
        self.action_net = self.action_dist.proba_distribution_net(self.mlp_extractor.latent_dim_pi)
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        if self.ortho_init:
            gains = {self.mlp_extractor: math.sqrt(2), self.action_net: 0.01, self.value_net: 1.0}
            for module, gain in gains.items():
                module.apply(partial(self.init_weights, gain=gain))
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def _get_action_dist_from_latent(self, latent_pi: th.Tensor) -> Distribution:
        distribution: Distribution = self.action_dist.proba_distribution(self.action_net(latent_pi))
        return distribution
