"""A task of one step in four dimensions whose expert is a Gaussian's tanh, known in closed form."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from ardae_rl.irl import Trajectory
from ardae_rl.irl.log_density import policy_log_prob

DIM, STD = 4, 0.25
Array = NDArray[np.float32]


class OneStep(gym.Env[Any, Any]):
    """Observe a point of the unit circle; every episode ends after one action."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (DIM,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = states(self.np_random.uniform(0, 2 * np.pi, 1))[0]
        return self._state, {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        return self._state, 0.0, True, False, {}


def states(angles: NDArray[np.float64]) -> Array:
    """Return points of the unit circle, shape (n, 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype(np.float32)


def expert_mean(points: Array) -> Array:
    """Return the mean of the expert's actions before tanh, shape (n, 4)."""
    x, y = points.T
    return np.stack([0.6 * x, 0.6 * y, 0.8 * x * y, 0.4 * (x - y)], -1)


def demonstrations(n: int, seed: int = 0) -> list[Trajectory]:
    """Return n episodes of the expert."""
    rng = np.random.default_rng(seed)
    points = states(rng.uniform(0, 2 * np.pi, n))
    actions = np.tanh(expert_mean(points) + STD * rng.normal(size=(n, DIM))).astype(np.float32)
    return [
        Trajectory(np.stack([point, point]), action[None], terminated=True)
        for point, action in zip(points, actions, strict=True)
    ]


def expert_divergence(model: Any, n: int = 2000) -> float:
    """Return KL(expert || policy) per state, from n of the expert's actions."""
    rng = np.random.default_rng(1)
    points = states(rng.uniform(0, 2 * np.pi, n))
    noise = th.as_tensor(rng.normal(size=(n, DIM)), dtype=th.float32)
    pre_tanh = th.as_tensor(expert_mean(points)) + STD * noise
    normal = th.distributions.Normal(th.as_tensor(expert_mean(points)), STD)
    log_expert = (normal.log_prob(pre_tanh) - th.log1p(-pre_tanh.tanh().square())).sum(-1)
    return float((log_expert - policy_log_prob(model, th.as_tensor(points), pre_tanh.tanh())).mean())


class Divergences(BaseCallback):
    """Record KL(expert || policy) at regular intervals.

    :param interval: Number of environment steps between two measurements.
    """

    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval
        self.values: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.interval == 0:
            self.values.append(expert_divergence(self.model.generator))  # type: ignore[attr-defined]
        return True
