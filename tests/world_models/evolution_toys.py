"""Environments and policies for evolution's tests, where spawned workers can import them."""

import os
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from ardae_rl.world_models.evolution import RolloutEvaluator

FAILS, NOT_FINITE, EXITS = 1e6, 2e6, 3e6  # first parameters with which the policy fails on purpose


class Drift(gym.Env[np.ndarray, np.ndarray]):
    """A point moved by actions and noise, in episodes of 3 to 12 steps; noise and length depend on the seed."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,))
    action_space = spaces.Box(-1, 1, (2,))

    def __init__(self) -> None:
        self.resets = self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        assert seed is not None, "each episode has its seed"
        self.resets += 1
        self.left = int(self.np_random.integers(3, 13))
        self.at = self.np_random.standard_normal(3)
        return self.at.copy(), {}

    def step(self, action: Any) -> Any:
        assert self.left > 0, "no step after the end"
        self.steps += 1
        self.left -= 1
        self.at = 0.9 * self.at + 0.1 * self.np_random.standard_normal(3)
        self.at[:2] += action
        return self.at.copy(), float(1 - np.square(self.at).sum()), self.left == 0, False, {}


class LinearPolicy:
    """tanh of a linear function, computed row by row, so that results do not depend on the size of the batch."""

    def __init__(self, n_inputs: int = 3, n_outputs: int = 2, gain: float = 1.0) -> None:
        self.n_inputs, self.n_outputs, self.gain = n_inputs, n_outputs, gain
        self.n_parameters = n_outputs * (n_inputs + 1)
        self.calls = 0

    def act(self, parameters: Any, observations: Any, state: Any, episode_start: Any) -> tuple[Any, Any]:
        self.calls += 1
        if (parameters[:, 0] == FAILS).any():
            raise ZeroDivisionError("as told")
        if (parameters[:, 0] == EXITS).any():
            os._exit(7)
        weights = parameters.reshape(len(parameters), self.n_outputs, self.n_inputs + 1)
        outputs = self.gain * np.tanh((weights[..., :-1] * observations[:, None]).sum(-1) + weights[..., -1])
        return np.where(parameters[:, :1] == NOT_FINITE, np.nan, outputs), state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.gain = float(state["gain"])


class RecurrentPolicy(LinearPolicy):
    """Acts on the sum of all observations of the episode, and counts its steps; its state is an array and a tensor."""

    def act(self, parameters: Any, observations: Any, state: Any, episode_start: Any) -> tuple[Any, Any]:
        n = len(observations)
        total, steps = (np.zeros((n, 3)), th.zeros(n, 1)) if state is None else state
        total = np.where(episode_start[:, None], 0, total) + observations
        steps = th.where(th.from_numpy(episode_start)[:, None], 0.0, steps) + 1
        actions, _ = super().act(parameters, total / steps.numpy(), None, episode_start)
        return th.from_numpy(actions), (total, steps)


def drifting(n_envs: int = 3, policy: type[LinearPolicy] = RecurrentPolicy, **limits: int) -> RolloutEvaluator:
    return RolloutEvaluator(Drift, policy(), n_envs, **limits)


def parameters(n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 8))
