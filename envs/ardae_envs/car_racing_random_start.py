"""CarRacing that starts anywhere on the track: for data and training, not for the official evaluation."""

from typing import Any

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from ardae_envs.car_racing_fast import CarRacingFast

RENDERERS = ("fast", "official")
_STREAM = 0x57A27  # parts the starts' random numbers from the tracks'


class CarRacingRandomStart(CarRacing):
    """The official environment, started on a random tile.

    The tiles are renumbered before there is a car: it stands on the new tile 0, and lap and rewards follow from that.
    Tracks come in the official sequence, because the starts have random numbers of their own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._start_rng = np.random.default_rng()
        self._wanted_start: int | None = None
        self._start = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """As the official one; ``options={"start": k}`` starts on tile k of the official numbering.

        :return: the first frame, and ``{"start": k}``
        :raises ValueError: if there is no such tile on the track
        """
        if seed is not None:
            self._start_rng = np.random.default_rng([seed, _STREAM])
        self._wanted_start = (options or {}).get("start")
        frame, info = super().reset(seed=seed, options=options)
        return frame, info | {"start": self._start}

    def _create_track(self) -> bool:
        if not super()._create_track():
            return False
        n_tiles = len(self.track)
        if self._wanted_start is None:
            self._start = int(self._start_rng.integers(n_tiles))
        elif self._wanted_start in range(n_tiles):
            self._start = int(self._wanted_start)
        else:
            raise ValueError(f"options['start']={self._wanted_start!r}: accepted are 0 to {n_tiles - 1} on this track")
        self.track = self.track[self._start :] + self.track[: self._start]
        road: Any = self.road
        for tile in road:
            tile.idx = (tile.idx - self._start) % n_tiles
        return True


class CarRacingFastRandomStart(CarRacingRandomStart, CarRacingFast):
    """The same frames, drawn faster."""


def make(renderer: str = "fast", **kwargs: Any) -> CarRacing:
    """What ``gymnasium.make("ardae/CarRacingRandomStart-v0")`` makes.

    :param renderer: "fast" or "official": the same frames
    :raises ValueError: for another one
    """
    if renderer not in RENDERERS:
        raise ValueError(f"renderer={renderer!r}: accepted are {', '.join(map(repr, RENDERERS))}")
    cls = CarRacingFastRandomStart if renderer == "fast" else CarRacingRandomStart
    return cls(**kwargs)
