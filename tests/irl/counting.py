"""A toy environment whose observation is the number of the step."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Counting(gym.Env[Any, Any]):
    """Observe the number of the step and the last action; the reward is the number of the step.

    Episodes are truncated after five steps, or terminate after three.

    :param ends: Whether episodes terminate after three steps.
    :param as_dict: Whether observations are dictionaries.
    :param discrete: Whether actions are 0, 1 and 2 instead of a box.
    """

    def __init__(self, ends: bool = False, as_dict: bool = False, discrete: bool = False) -> None:
        vector = spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.observation_space = spaces.Dict({"vector": vector}) if as_dict else vector
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.ends, self.as_dict = ends, as_dict

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t, self._last = 0, 0.0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t, self._last = self._t + 1, float(np.asarray(action).flatten()[0])
        return self._observation(), float(self._t), self.ends and self._t == 3, self._t == 5, {}

    def _observation(self) -> Any:
        vector = np.array([self._t, self._last], np.float32)
        return {"vector": vector} if self.as_dict else vector
