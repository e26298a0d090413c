"""An environment that breaks at its first step, for the benchmark's workers to import."""

from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import PendulumEnv


class Failing(PendulumEnv):
    def step(self, action: Any) -> Any:
        raise RuntimeError("as told")


gym.register("Failing-v0", entry_point="tests.grid.failing:Failing", max_episode_steps=10)
