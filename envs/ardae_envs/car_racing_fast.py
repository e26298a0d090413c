"""Gymnasium's CarRacing with a renderer that is several times faster and draws the same pixels."""

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ardae_envs.optional import missing

try:
    import Box2D
except ImportError as error:
    raise missing("Box2D", "box2d") from error
try:
    import pygame
    from gymnasium.envs.box2d import car_racing as official
except (ImportError, gym.error.DependencyNotInstalled) as error:
    raise missing("pygame", "box2d") from error

from ardae_envs.car_shape import CarShape
from ardae_envs.rasterizer import draw_polygons

# Versions with which the frames were compared; other versions may draw different frames
VERIFIED_GYMNASIUM = ("1.4.0",)
VERIFIED_PYGAME = ("2.5.8",)
VERIFIED_BOX2D = ("2.3.10",)
_BAR_SHARE = 8  # the black indicator bar takes an eighth of the height
_SMALL_W, _SMALL_H = official.STATE_W, official.STATE_H
_MAX_INDICATOR = 4.0  # in fortieths of the height; higher indicators extend beyond the bar
_EDGE = 2  # number of pixels by which an outline may extend beyond its corners


def unverified_version() -> str | None:
    """Return the first installed version with which the frames were not compared, as part of an error; None if none."""
    versions = (
        ("gymnasium", gym.__version__, VERIFIED_GYMNASIUM),
        ("pygame", pygame.version.ver, VERIFIED_PYGAME),
        ("Box2D", Box2D.__version__, VERIFIED_BOX2D),
    )
    for name, installed, verified in versions:
        if installed not in verified:
            return f"{name} {installed} (the frames have been compared with {', '.join(verified)})"
    return None


class CarRacingFast(official.CarRacing):
    """The official environment with a faster renderer: same physics, rewards and frames.

    - Compiled code (:func:`~ardae_envs.rasterizer.draw_polygons`) draws ground and road, and skips polygons outside
      the image.
    - Pixels that the indicator bar will cover are not drawn, and all surfaces are reused.
    - The image is scaled in x before it is flipped, and in y afterwards, so that the flip costs an eighth of the work.
      The result is the same, because pygame scales in x first, row by row.

    While ``drawing`` is False, ``step`` returns the last frame that was drawn.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/CarRacingFast-v0")
    >>> frame, _ = env.reset(seed=0)
    >>> frame.shape
    (96, 96, 3)

    :param unverified: Whether to accept versions of Gymnasium, pygame and Box2D with which the frames have not been
        compared.
    :raises ValueError: If one of the installed versions is such a version and ``unverified`` is False.
    """

    drawing = True
    _downscaling: ClassVar[int] = 1

    def __init__(self, *args: Any, unverified: bool = False, **kwargs: Any) -> None:
        problem = unverified_version()
        if problem is not None and not unverified:
            raise ValueError(f"`unverified` must be True for {problem}, got False")
        super().__init__(*args, **kwargs)
        self._ezpickle_args, self._ezpickle_kwargs = args, {**kwargs, "unverified": unverified}
        width, height = official.WINDOW_W // self._downscaling, official.WINDOW_H // self._downscaling
        bar = height // _BAR_SHARE
        self._width, self._height, self._bar_height = width, height, bar
        # Distance in pixels from the car to the farthest corner
        self._reach = math.hypot(width / 2, 0.75 * height) + _EDGE
        # The world is drawn upside down, the indicator bar is not
        self._pixels, self._window = _surface(width, height)
        self._world = self._window.subsurface((0, bar, width, height - bar))
        self._panel = pygame.Surface((width, height)).convert(self._window)
        self._bar = self._panel.subsurface((0, height - bar, width, bar))
        self._narrow_world_pixels, self._narrow_world = _surface(_SMALL_W, height - bar)
        self._narrow_pixels, self._narrow = _surface(_SMALL_W, height)
        self._narrow_bar = self._narrow.subsurface((0, height - bar, _SMALL_W, bar))
        _, self._small = _surface(_SMALL_W, _SMALL_H)
        self._texts: dict[str, pygame.Surface] = {}
        self._cached_road: Any = None
        self._cached_car: Any = None

    def close(self) -> None:
        """Free the track and the car. Box2D's bodies refer to themselves, so that nothing else would free them."""
        self._destroy()
        super().close()

    def draw(self) -> NDArray[np.uint8]:
        """Return the frame of the current state."""
        frame: NDArray[np.uint8] = self._render("state_pixels")
        return frame

    def _render(self, mode: str) -> Any:
        if mode == "state_pixels" and not self.drawing:
            return self.state.copy()
        if mode != "state_pixels" or "t" not in self.__dict__ or self._indicators_exceed_bar():
            return super()._render(mode)
        self._draw_world()
        self._draw_bar()
        for wide, narrow in ((self._world, self._narrow_world), (self._bar, self._narrow_bar)):
            pygame.transform.smoothscale(wide, narrow.get_size(), narrow)
        self._narrow_pixels[: -self._bar_height] = self._narrow_world_pixels[::-1]
        pygame.transform.smoothscale(self._narrow, (_SMALL_W, _SMALL_H), self._small)
        pixels = np.frombuffer(pygame.image.tobytes(self._small, "RGB"), dtype=np.uint8)
        return pixels.reshape(_SMALL_H, _SMALL_W, 3).copy()

    def _draw_world(self) -> None:
        assert self.car is not None
        hull = self.car.hull
        angle = -hull.angle
        zoom = 0.1 * official.SCALE * max(1 - self.t, 0) + official.ZOOM * official.SCALE * min(self.t, 1)
        zoom /= self._downscaling
        scroll = pygame.math.Vector2((-hull.position[0] * zoom, -hull.position[1] * zoom)).rotate_rad(angle)
        offset = (self._width / 2 + scroll[0], self._height / 4 + scroll[1])
        cos, sin = pygame.math.Vector2((1, 0)).rotate_rad(angle)  # pygame has special cases near right angles
        camera = ((cos, sin), zoom, offset)

        ground = np.array([self.bg_color], dtype=np.float64)
        if max(abs(hull.position[0]), abs(hull.position[1])) + self._reach / zoom < official.PLAYFIELD:
            self._world.fill([int(c) for c in self.bg_color])
        else:
            self._world.fill(0)
            draw_polygons(self._pixels, self._bar_height, _FIELD, ground, *camera)
        if self._cached_road is not self.road_poly:
            self._cache_road()
        draw_polygons(self._pixels, self._bar_height, self._corners, self._colors, *camera)
        self._draw_car(*camera)

    def _cache_road(self) -> None:
        """Store the corners and colors of grass patches and road tiles as arrays, in the official order."""
        self._corners = np.array(_GRASS + [corners for corners, _ in self.road_poly], dtype=np.float64)
        self._colors = np.empty((len(self._corners), 3))
        self._colors[: len(_GRASS)] = self.grass_color
        # The environment recolors a tile in place when the car reaches it: make its color a view of our array
        road: Any = self.road
        tiles = {id(tile.color): tile for tile in road}
        for i, (corners, color) in enumerate(self.road_poly):
            row = self._colors[len(_GRASS) + i]
            row[:] = color
            if id(color) in tiles:
                tiles[id(color)].color = row
                self.road_poly[i] = (corners, row)
        self._cached_road = self.road_poly

    def _draw_car(self, rotation: tuple[float, float], zoom: float, offset: tuple[float, float]) -> None:
        if self._cached_car is not self.car:
            self._cached_car, self._shape = self.car, CarShape(self.car)
        (x, y), visible = self._shape.place()
        cos, sin = rotation
        across, along = (cos * x - sin * y) * zoom + offset[0], (sin * x + cos * y) * zoom + offset[1]
        points = list(zip(across.tolist(), along.tolist(), strict=True))
        for number, range_ in visible:
            pygame.draw.polygon(self._window, self._shape.colors[number], points[range_])

    def _indicators_exceed_bar(self) -> bool:
        assert self.car is not None
        speed = math.hypot(*self.car.hull.linearVelocity)
        return max(0.02 * speed, *(0.01 * wheel.omega for wheel in self.car.wheels)) >= _MAX_INDICATOR

    def _draw_bar(self) -> None:
        self.surf = self._panel  # type: ignore[assignment]
        self._render_indicators(self._width, self._height)
        label = f"{self.reward:04.0f}"
        if label not in self._texts:
            pygame.font.init()
            font = pygame.font.Font(pygame.font.get_default_font(), 42 // self._downscaling)
            self._texts[label] = font.render(label, True, (255, 255, 255), (0, 0, 0))
        text = self._texts[label]
        center = (60 // self._downscaling, self._height - self._height * 2.5 / 40.0)
        self._panel.blit(text, text.get_rect(center=center))


class CarRacingLowRes(CarRacingFast):
    """Draws at a quarter of the width and height before scaling down. The pixels differ slightly: for training only.

    Physics and rewards are those of the official environment; see :class:`CarRacingFast` for the arguments.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/CarRacingLowRes-v0")
    >>> frame, _ = env.reset(seed=0)
    >>> frame.shape
    (96, 96, 3)
    """

    _downscaling = 4


def _surface(width: int, height: int) -> tuple[NDArray[np.uint32], pygame.Surface]:
    """Return an array (height, width) of 0xAARRGGBB and a surface that shares its memory."""
    pixels = np.zeros((height, width), dtype="<u4")
    return pixels, pygame.image.frombuffer(pixels.data, (width, height), "BGRA")


def _square(left: float, bottom: float, side: float) -> list[tuple[float, float]]:
    """Return the corners of a square, in the official order."""
    return [(left + side, bottom), (left, bottom), (left, bottom + side), (left + side, bottom + side)]


_PATCH, _SIDE = official.GRASS_DIM, official.PLAYFIELD
_GRASS = [_square(_PATCH * x, _PATCH * y, _PATCH) for x in range(-20, 20, 2) for y in range(-20, 20, 2)]
_FIELD = np.array([[(_SIDE, _SIDE), (_SIDE, -_SIDE), (-_SIDE, -_SIDE), (-_SIDE, _SIDE)]], dtype=np.float64)
