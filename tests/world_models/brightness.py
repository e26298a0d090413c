"""A toy environment with uniformly gray frames."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Brightness(gym.Env[Any, Any]):
    """Frames of one gray level, which the action changes; the brighter, the better. Episodes have five steps."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.level, self.t = 100.0, 0
        return self._frame(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.level, self.t = float(np.clip(self.level + 40 * action[0], 0, 255)), self.t + 1
        return self._frame(), self.level / 255, self.t == 5, False, {}

    def _frame(self) -> Any:
        return np.full((64, 64, 3), self.level, np.uint8)
