"""A toy environment whose frames identify their step and episode, and a vision model for its frames."""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from ardae_envs.collection import StickyRandom
from ardae_rl.world_models.data import FrameStore, collect

BOX = spaces.Box(-1, 1, (2,), np.float32)
DISCRETE = spaces.Discrete(3, start=-1)
SHAPE = (4, 4, 3)
LIMIT = 12


def reward(step: Any, action: Any) -> Any:
    """Return the reward of an action (..., 2) at the frame of a step."""
    return 10 * step + action[..., 0] + 3 * action[..., 1]


def dies(step: Any, action: Any) -> Any:
    return (step >= 2) & (action[..., 0] > 0.6)


class Counting(gym.Env[Any, Any]):
    """Frames show the step and the seed, in the first and second color channel; episodes have 12 steps.

    Discrete actions -1, 0, 1 mean (action, 0).
    """

    def __init__(self, discrete: bool = False) -> None:
        self.observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
        self.action_space = DISCRETE if discrete else BOX
        self.discrete = discrete

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        assert seed is not None, "episodes are reset by the collection alone"
        self._seed, self._t, self._over = seed, 0, False
        return self._frame(), {"start": np.int64(seed + 100), "track": np.zeros(3), "grip": np.nan}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self._over, "nothing is stepped after its end"
        vector = np.array([action, 0.0]) if self.discrete else action
        gained, dead = float(reward(self._t, vector)), bool(dies(self._t, vector))
        self._t += 1
        cut = self._t == LIMIT
        self._over = dead or cut
        return self._frame(), gained, dead, cut, {}

    def _frame(self) -> Any:
        return np.full(SHAPE, 7, np.uint8) + np.array([self._t - 7, self._seed % 256 - 7, 0]).astype(np.uint8)


def store_of(folder: Path, n_episodes: int, discrete: bool = False, **arguments: Any) -> FrameStore:
    """Return a store of random episodes, some of them terminated and some truncated."""
    make_env = partial(Counting, discrete)
    space = DISCRETE if discrete else BOX
    store = FrameStore(folder, SHAPE, space, "none", shard_megabytes=0.005)
    collect(store, make_env, StickyRandom(space, 0.3, False), n_episodes=n_episodes, **arguments)
    return store


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def see(frames: Any) -> tuple[Any, Any]:
    """Return posteriors (n, 2) that are nearly certain of step and seed."""
    mean = frames[:, 0, 0, :2].astype(np.float32)
    return mean, np.full_like(mean, -12)
