"""CarRacing with random starts on the track, for data collection and training, not for the official evaluation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ardae_envs.car_racing_fast import CarRacingFast, official  # which names the extra if something is missing
from ardae_envs.checks import check_choice, check_options

RENDERERS = ("fast", "official")
_STREAM = 0x57A27  # separates the random numbers of the starts from those of the tracks


class CarRacingRandomStart(official.CarRacing):
    """The official environment with the start on a random tile.

    The tiles are renumbered before the car is placed on the new tile 0; laps and rewards follow the new numbering. For
    a given seed, the tracks are the official ones, because the starts have their own random generator.

    Example:

    >>> from ardae_envs.car_racing_random_start import CarRacingRandomStart
    >>> env = CarRacingRandomStart()
    >>> frame, info = env.reset(seed=0, options={"start": 17})
    >>> info["start"]
    17
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_rng = np.random.default_rng()
        self._requested_start: int | None = None
        self._start = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode; ``options={"start": k}`` chooses tile k of the official numbering.

        :param options: "start", and CarRacing's own "randomize".
        :return: The first frame, and ``{"start": k}``.
        :raises ValueError: If the track has no such tile, or for any other option.
        """
        requested = check_options(options, ("start", "randomize")).get("start")
        if seed is not None:
            self._start_rng = np.random.default_rng([seed, _STREAM])
        self._requested_start = requested
        frame, info = super().reset(seed=seed, options=options)
        return frame, info | {"start": self._start}

    def _create_track(self) -> bool:
        if not super()._create_track():
            return False
        n_tiles = len(self.track)
        if self._requested_start is None:
            self._start = int(self._start_rng.integers(n_tiles))
        elif self._requested_start in range(n_tiles):
            self._start = int(self._requested_start)
        else:
            raise ValueError(
                f"`options['start']` must be between 0 and {n_tiles - 1} on this track, got {self._requested_start!r}"
            )
        self.track = self.track[self._start :] + self.track[: self._start]
        road: Any = self.road
        for tile in road:
            tile.idx = (tile.idx - self._start) % n_tiles
        return True


class CarRacingFastRandomStart(CarRacingRandomStart, CarRacingFast):
    """Random starts with the faster renderer, which draws the same frames.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/CarRacingRandomStart-v0")
    >>> frame, info = env.reset(seed=0)
    >>> 0 <= info["start"] < len(env.unwrapped.track)
    True
    """


def make(renderer: str = "fast", **kwargs: Any) -> official.CarRacing:
    """Make the environment that is registered as ``ardae/CarRacingRandomStart-v0``.

    :param renderer: "fast" or "official"; both draw the same frames.
    :raises ValueError: If ``renderer`` is neither.
    """
    check_choice("renderer", renderer, RENDERERS)
    cls = CarRacingFastRandomStart if renderer == "fast" else CarRacingRandomStart
    return cls(**kwargs)


make.metadata = official.CarRacing.metadata  # type: ignore[attr-defined]  # Gymnasium looks for render modes here
