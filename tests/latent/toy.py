"""A toy environment whose images show its position."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIDE, LIMIT = 8, 6


class Walk(gym.Env[Any, Any]):
    """The first pixel is the position, which an action of 1 moves by 10; the second is the step, the third the episode.

    Episodes are cut off after six steps, and end where the position is below 60. The reward is the action.
    """

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, with_goal: bool = True) -> None:
        image = spaces.Box(0, 255, (SIDE, SIDE, 1), np.uint8)
        self.with_goal, self._episode = with_goal, 0
        self.observation_space = spaces.Dict({"observation": image, "desired_goal": image}) if with_goal else image

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t, self._position = 0, 120
        self._episode += 1
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        self._position += round(10 * float(action[0]))
        return self._observation(), float(action[0]), self._position < 60, self._t == LIMIT, {}

    def _observation(self) -> Any:
        image = np.zeros((SIDE, SIDE, 1), np.uint8)
        image[0, :3, 0] = self._position, self._t, self._episode % 256
        return {"observation": image, "desired_goal": np.full_like(image, 9)} if self.with_goal else image
