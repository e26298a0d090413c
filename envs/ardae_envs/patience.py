"""Episodes that are given up when nothing is gained any more."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs


class Patience(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Truncates an episode after so many steps in a row without a positive reward: for training, not for evaluation.

    :param env: any environment
    :param n: steps
    :raises ValueError: for n below 1
    """

    def __init__(self, env: gym.Env[Any, Any], n: int) -> None:
        if n < 1:
            raise ValueError(f"n={n!r}: accepted are 1 and more")
        RecordConstructorArgs.__init__(self, n=n)
        super().__init__(env)
        self.n, self._unrewarded = n, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._unrewarded = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._unrewarded = 0 if float(reward) > 0 else self._unrewarded + 1
        return observation, reward, terminated, truncated or self._unrewarded >= self.n, info
