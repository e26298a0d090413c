"""Gymnasium's CarRacing with a renderer several times faster, to the same pixels."""

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pygame
from gymnasium.envs.box2d import car_racing as official
from numpy.typing import NDArray
from pygame import gfxdraw

# On these the frames were compared; another version may draw something else
VERIFIED_GYMNASIUM = ("1.4.0",)
_BAR_SHARE = 8  # the black bar of indicators has the eighth part of the height
_SMALL_W, _SMALL_H = official.STATE_W, official.STATE_H
_HIGHEST_INDICATOR = 4.0  # in fortieths of the height: higher ones leave the bar
_EDGE = 2  # pixels that an outline may lie beside its corners

Corners = NDArray[np.float64]


class CarRacingFast(official.CarRacing):
    """The official environment, but for how ``state_pixels`` are made: same physics, rewards and frames.

    - The corners of all polygons are transformed at once, and those beyond the picture left out.
    - What the indicators will cover is not drawn, and no surface is made anew.
    - The picture is scaled in x before it is turned over, an eighth of the work then, and in y afterwards. It comes out
      the same, because pygame scales in x first, and each row by itself.

    :param unverified: accept a version of Gymnasium on which the frames have not been compared
    :raises ValueError: for such a version, otherwise
    """

    _shrunk: ClassVar[int] = 1

    def __init__(self, *args: Any, unverified: bool = False, **kwargs: Any) -> None:
        if gym.__version__ not in VERIFIED_GYMNASIUM and not unverified:
            raise ValueError(
                f"gymnasium {gym.__version__}: the frames have been compared on {', '.join(VERIFIED_GYMNASIUM)}; "
                "accepted: one of these, or unverified=True"
            )
        super().__init__(*args, **kwargs)
        self._ezpickle_args, self._ezpickle_kwargs = args, {**kwargs, "unverified": unverified}
        width, height = official.WINDOW_W // self._shrunk, official.WINDOW_H // self._shrunk
        bar = height // _BAR_SHARE
        self._width, self._height, self._bar_height = width, height, bar
        # Pixels from the car to the farthest corner
        self._reach = math.hypot(width / 2, 0.75 * height) + _EDGE
        self._window, self._panel = pygame.Surface((width, height)), pygame.Surface((width, height))
        self._world = self._window.subsurface((0, bar, width, height - bar))
        self._bar = self._panel.subsurface((0, height - bar, width, bar))
        self._narrow = pygame.Surface((_SMALL_W, height))
        self._narrow_world = pygame.Surface((_SMALL_W, height - bar))
        self._narrow_bar = self._narrow.subsurface((0, height - bar, _SMALL_W, bar))
        self._small = pygame.Surface((_SMALL_W, _SMALL_H))
        self._texts: dict[str, pygame.Surface] = {}
        self._road_of: Any = None

    def _render(self, mode: str) -> Any:
        if mode != "state_pixels" or "t" not in self.__dict__ or self._indicators_leave_the_bar():
            return super()._render(mode)
        self._draw_world()
        self._draw_bar()
        for wide, narrow in ((self._world, self._narrow_world), (self._bar, self._narrow_bar)):
            pygame.transform.smoothscale(wide, narrow.get_size(), narrow)
        # The world is drawn upside down, the bar is not
        pixels2d = pygame.surfarray.pixels2d
        pixels2d(self._narrow)[:, : -self._bar_height] = pixels2d(self._narrow_world)[:, ::-1]
        pygame.transform.smoothscale(self._narrow, (_SMALL_W, _SMALL_H), self._small)
        pixels = np.frombuffer(pygame.image.tobytes(self._small, "RGB"), dtype=np.uint8)
        return pixels.reshape(_SMALL_H, _SMALL_W, 3).copy()

    def _draw_world(self) -> None:
        assert self.car is not None
        hull = self.car.hull
        angle = -hull.angle
        zoom = 0.1 * official.SCALE * max(1 - self.t, 0) + official.ZOOM * official.SCALE * min(self.t, 1)
        zoom /= self._shrunk
        scroll = pygame.math.Vector2((-hull.position[0] * zoom, -hull.position[1] * zoom)).rotate_rad(angle)
        offset = (self._width / 2 + scroll[0], self._height / 4 + scroll[1])

        if max(abs(hull.position[0]), abs(hull.position[1])) + self._reach / zoom < official.PLAYFIELD:
            self._world.fill([int(c) for c in self.bg_color])
        else:
            self._world.fill(0)
            self._draw_polygon(_points(*_to_window(_FIELD, zoom, offset, angle), [0])[0], self.bg_color)
        across, along = _to_window(self._grass_and_road(), zoom, offset, angle)
        visible = self._touching_window(across, along)
        for i, points in zip(visible, _points(across, along, visible), strict=True):
            # A tile's colour changes when the car comes to it
            colour = self.grass_color if i < _N_PATCHES else [int(c) for c in self.road_poly[i - _N_PATCHES][1]]
            self._draw_polygon(points, colour)
        self.car.draw(self._window, zoom, offset, angle, draw_particles=False)

    def _touching_window(self, across: Corners, along: Corners) -> list[int]:
        """Polygons (4, n) whose box meets the part of the window that is drawn."""
        touching = (across.max(0) >= -_EDGE) & (across.min(0) <= self._width + _EDGE)
        touching &= (along.max(0) >= self._bar_height - _EDGE) & (along.min(0) <= self._height + _EDGE)
        indices: list[int] = np.flatnonzero(touching).tolist()
        return indices

    def _draw_polygon(self, points: list[list[int]], colour: Any) -> None:
        # In the whole window: where an outline is cut off decides about its other pixels, too
        gfxdraw.aapolygon(self._window, points, colour)
        gfxdraw.filled_polygon(self._window, points, colour)

    def _grass_and_road(self) -> Corners:
        """What this track is drawn from, in the official order."""
        if self._road_of is not self.road_poly:
            self._road_of = self.road_poly
            road = np.array([corners for corners, _ in self.road_poly], dtype=np.float64)
            self._corners = np.ascontiguousarray(np.concatenate([_GRASS, road.transpose(2, 1, 0)], axis=-1))
        return self._corners

    def _indicators_leave_the_bar(self) -> bool:
        assert self.car is not None
        speed = math.hypot(*self.car.hull.linearVelocity)
        return max(0.02 * speed, *(0.01 * wheel.omega for wheel in self.car.wheels)) >= _HIGHEST_INDICATOR

    def _draw_bar(self) -> None:
        self.surf = self._panel  # type: ignore[assignment]
        self._render_indicators(self._width, self._height)
        label = f"{self.reward:04.0f}"
        if label not in self._texts:
            pygame.font.init()
            font = pygame.font.Font(pygame.font.get_default_font(), 42 // self._shrunk)
            self._texts[label] = font.render(label, True, (255, 255, 255), (0, 0, 0))
        text = self._texts[label]
        centre = (60 // self._shrunk, self._height - self._height * 2.5 / 40.0)
        self._panel.blit(text, text.get_rect(center=centre))


class CarRacingLowRes(CarRacingFast):
    """For training alone: drawn at a quarter of the width and height, with other pixels than the official ones.

    Physics and rewards are the official environment's; see :class:`CarRacingFast` for the arguments.
    """

    _shrunk = 4


def _to_window(corners: Corners, zoom: float, offset: tuple[float, float], angle: float) -> tuple[Any, Any]:
    """What the official renderer does to each corner, to the last bit.

    :param corners: (2, ...), metres
    :return: pixels from the left and from the bottom, (...) each
    """
    x, y = corners
    cos, sin = pygame.math.Vector2((1, 0)).rotate_rad(angle)  # pygame has special cases near right angles
    return (cos * x - sin * y) * zoom + offset[0], (sin * x + cos * y) * zoom + offset[1]


def _points(across: Corners, along: Corners, polygons: list[int]) -> list[list[list[int]]]:
    """Of some polygons, the corners in whole pixels, towards zero as pygame's drawing takes them."""
    points: list[list[list[int]]] = (
        np.stack([across[:, polygons].T, along[:, polygons].T], axis=-1).astype(np.int64).tolist()
    )
    return points


def _boxes(centre_and_size: list[tuple[float, float, float]]) -> Corners:
    """Squares by (left, bottom, side), (2, 4, n), their corners in the official order."""
    return np.array([[(x + s, y), (x, y), (x, y + s), (x + s, y + s)] for x, y, s in centre_and_size]).transpose(
        2, 1, 0
    )


_PATCH = official.GRASS_DIM
_GRASS = _boxes([(_PATCH * x, _PATCH * y, _PATCH) for x in range(-20, 20, 2) for y in range(-20, 20, 2)])
_N_PATCHES = _GRASS.shape[-1]
_SIDE = official.PLAYFIELD
_FIELD = np.array([(_SIDE, _SIDE, -_SIDE, -_SIDE), (_SIDE, -_SIDE, -_SIDE, _SIDE)])[..., None]
