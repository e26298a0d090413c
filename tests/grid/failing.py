"""An environment that fails at its first step; the benchmark's workers import it."""

from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import PendulumEnv


class Failing(PendulumEnv):
    def step(self, action: Any) -> Any:
        raise RuntimeError("on purpose")


gym.register("Failing-v0", entry_point="tests.grid.failing:Failing", max_episode_steps=10)
