"""One-step tasks whose reward is the log-density of a mixture of Gaussians: at temperature 1, that is the optimum."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from experiments.actor_only import ActorOnly

RADIUS = 0.4


class Target(NamedTuple):
    """A mixture of Gaussians with equal weights and diagonal covariance, whose modes move with the state."""

    n_modes: int
    std: th.Tensor  # of each mode, (dim,)
    means_at: Callable[[th.Tensor, int, th.Tensor], th.Tensor]  # function of the states' angles, n_modes and std

    def mode_means(self, states: th.Tensor) -> th.Tensor:
        """Return the means of the modes, (batch, n_modes, dim), for states on the unit circle, (batch, 2)."""
        return self.means_at(th.atan2(states[:, 1], states[:, 0]), self.n_modes, self.std)

    def log_prob(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Return the log-density of actions (batch, dim), (batch, 1)."""
        residual = (actions.unsqueeze(1) - self.mode_means(states)) / self.std
        log_modes = -0.5 * residual.square().sum(-1) - (self.std * math.sqrt(2 * math.pi)).log().sum()
        return log_modes.logsumexp(1, keepdim=True) - math.log(self.n_modes)

    def log_mass(self, states: th.Tensor) -> th.Tensor:
        """Return the log of the probability mass inside the box of actions, (batch,)."""
        means = self.mode_means(states)
        mass = th.special.ndtr((1 - means) / self.std) - th.special.ndtr((-1 - means) / self.std)
        return mass.prod(-1).mean(1).log()


def circle(angles: th.Tensor, n_modes: int, std: th.Tensor) -> th.Tensor:
    """Return modes on a circle in the plane, the first at the state's angle."""
    angles = angles.unsqueeze(1) + 2 * math.pi * th.arange(n_modes) / n_modes
    return RADIUS * th.stack([angles.cos(), angles.sin()], dim=-1)


def ring(angles: th.Tensor, n_modes: int, std: th.Tensor) -> th.Tensor:
    """Return modes in six dimensions around a center that moves with the state.

    They lie on an ellipse in the third and fourth dimension, which rotates with the state. Three modes are 4 standard
    deviations apart.
    """
    angles = angles.unsqueeze(1)
    waves = [angles.cos(), angles.sin(), (2 * angles).cos(), (2 * angles).sin(), (angles + 1).cos(), (angles + 1).sin()]
    means = RADIUS * th.stack(waves, dim=-1).expand(-1, n_modes, -1).clone()
    if n_modes > 1:
        phases = angles + 2 * math.pi * th.arange(n_modes) / n_modes
        means[..., 2:4] += 4 / math.sqrt(3) * std[2:4] * th.stack([phases.cos(), phases.sin()], dim=-1)
    return means


class OneStepEnv(gym.Env[np.ndarray, np.ndarray]):
    """Declare the spaces: states are points on the unit circle, actions lie in the box [-1, 1]^dim."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, dim: int = 2) -> None:
        self.action_space = spaces.Box(-1, 1, (dim,))


class KnownReward(ActorOnly):
    """SACARDAE whose critic is the log-density of a target."""

    def __init__(self, *args: Any, target: Target, **kwargs: Any):
        self.known_target = target
        super().__init__(*args, **kwargs)

    def action_value(self, observations: Any, actions: th.Tensor) -> th.Tensor:
        return self.known_target.log_prob(observations, actions)

    def sample_states(self, n: int) -> th.Tensor:
        return random_states(n)


def random_states(n: int) -> th.Tensor:
    """Return n points on the unit circle, (n, 2)."""
    return _circle_points(2 * math.pi * th.rand(n))


def even_states(n: int) -> th.Tensor:
    """Return n points at equal distances on the unit circle, (n, 2)."""
    return _circle_points(2 * math.pi * th.arange(n) / n)


def _circle_points(angles: th.Tensor) -> th.Tensor:
    return th.stack([angles.cos(), angles.sin()], dim=1)
