"""Early truncation against given rewards."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_envs.patience import Patience


class Scripted(gym.Env[Any, Any]):
    """Returns a given sequence of rewards."""

    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, rewards: list[float]) -> None:
        self.rewards = rewards

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.left = list(self.rewards)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), self.left.pop(0), not self.left, False, {}


@pytest.mark.parametrize(
    ("rewards", "ends"),
    [
        ([-1, 0, 1, -1, -1, -1, 5], [False] * 5 + [True]),  # three in a row after the gain
        ([-1, 0, 1, -1, 0], [False] * 5),  # the environment's own end is no truncation
    ],
)
def test_truncation(rewards: list[float], ends: list[bool]) -> None:
    env = Patience(Scripted(rewards), 3)
    for _ in range(2):  # it begins anew with each episode
        env.reset()
        assert [env.step(0)[3] for _ in ends] == ends


def test_termination() -> None:
    env = Patience(Scripted([-1, -1, 5]), 2, terminate=True)
    env.reset()
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (True, False)]


def test_bad_argument() -> None:
    with pytest.raises(ValueError, match="`n` must be >= 1, got 0"):
        Patience(Scripted([1.0]), 0)
