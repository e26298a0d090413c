"""DoomTakeCover, the second task of World Models (Ha and Schmidhuber 2018), based on ViZDoom's own environment."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from ardae_envs.checks import check_options
from ardae_envs.optional import require

ACTIONS = ("left", "nothing", "right")
# ViZDoom's order is nothing, right, left
_VIZDOOM_ACTIONS = (2, 0, 1)
_HEIGHT, _WIDTH = 240, 320
_FLOOR = _HEIGHT // 6  # rows at the bottom that World Models crops


class TakeCover(gym.Env[NDArray[np.uint8], np.int64], EzPickle):
    """Survive monsters that throw fireballs; each step has a reward of 1.

    Observations are frames (200, 320, 3), uint8. The actions 0 (left), 1 (nothing) and 2 (right) are ordered along one
    axis (see :class:`~ardae_envs.actions.OneAxisToDiscrete`). ViZDoom returns no frame after death: the last
    observation of an episode repeats the previous one, and ``info["frame_repeated"]`` is True. Episodes of
    ``ardae/TakeCover-v0`` are truncated after 2100 steps.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/TakeCover-v0")
    >>> observation, _ = env.reset(seed=0)
    >>> observation.shape
    (200, 320, 3)
    >>> env.step(0)[1]
    1.0
    >>> env.close()

    :param render_mode: None, "rgb_array" or "human".
    :param floor: Whether frames include the lowest sixth of the screen, (240, 320, 3).
    :raises DependencyNotInstalled: If ViZDoom is not installed.
    """

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 35}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, floor: bool = False) -> None:
        EzPickle.__init__(self, render_mode, floor)
        require("vizdoom", "doom")
        from vizdoom import gymnasium_wrapper  # noqa: F401 (registers ViZDoom's environments)

        self.render_mode = render_mode
        self._height = _HEIGHT if floor else _HEIGHT - _FLOOR
        self._game: Any = gym.make("VizdoomTakeCover-v1", render_mode=render_mode).unwrapped
        self.observation_space = spaces.Box(0, 255, (self._height, _WIDTH, 3), np.uint8)
        self.action_space = spaces.Discrete(len(ACTIONS))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        check_options(options)
        super().reset(seed=seed)
        observation, _ = self._game.reset(seed=seed)
        self._frame = self._cropped(observation)
        return self._frame, {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(f"`action` must be between 0 and {len(ACTIONS) - 1}, got {action!r}")
        observation, reward, terminated, truncated, _ = self._game.step(_VIZDOOM_ACTIONS[int(action)])
        if not terminated:
            self._frame = self._cropped(observation)
        return self._frame, float(reward), terminated, truncated, {"frame_repeated": terminated}

    def render(self) -> Any:
        return self._game.render()

    def close(self) -> None:
        self._game.close()

    def _cropped(self, observation: dict[str, Any]) -> NDArray[np.uint8]:
        screen: NDArray[np.uint8] = observation["screen"]
        return screen[: self._height].copy()  # ViZDoom writes the next frame to the same memory
