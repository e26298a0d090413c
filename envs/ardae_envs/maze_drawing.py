"""Top-down images of mazes: map, paths and goals, drawn with NumPy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ardae_envs.mazes import Maze

Color = tuple[int, int, int]
Image = NDArray[np.uint8]
PIXELS = 24  # per cell
GOAL_COLORS: tuple[Color, ...] = (
    (209, 73, 91),
    (46, 134, 171),
    (237, 174, 73),
    (58, 125, 68),
    (131, 80, 160),
    (233, 120, 60),
    (90, 190, 180),
    (120, 90, 70),
)
NO_GOAL: Color = (140, 140, 140)
_WALL, _FLOOR, _OBSTACLE, _START = (70, 74, 82), (250, 250, 247), (150, 120, 90), (205, 205, 200)
_TRAIL_RADIUS, AGENT_RADIUS, _GOAL_RADIUS = 0.06, 0.16, 0.5  # in cells
_POINTS_PER_CELL = 16  # of a path


def goal_color(goal: int) -> Color:
    """Return the color of a goal, or gray for -1."""
    return NO_GOAL if goal < 0 else GOAL_COLORS[goal % len(GOAL_COLORS)]


def draw_map(maze: Maze, closed: bool = False, goals: Sequence[int] | None = None) -> Image:
    """Return an image of walls, start, goals and obstacles, (24 rows, 24 columns, 3).

    :param maze: The map.
    :param closed: Whether the obstacles are closed. Open ones are only outlined.
    :param goals: Indices of the goals to draw; None for all.
    """
    cells = np.where(maze.walls[..., None], np.array(_WALL, np.uint8), np.array(_FLOOR, np.uint8))
    image = np.repeat(np.repeat(cells, PIXELS, axis=0), PIXELS, axis=1)
    for row, column in maze.obstacles:
        cell = image[row * PIXELS : (row + 1) * PIXELS, column * PIXELS : (column + 1) * PIXELS]
        inner = cell[1:-1, 1:-1].copy()
        cell[:] = _OBSTACLE
        if not closed:
            cell[1:-1, 1:-1] = inner
    _draw_disc(image, maze, maze.center(maze.start), 0.3, _START)
    for index in range(len(maze.goals)) if goals is None else goals:
        _draw_disc(image, maze, maze.center(maze.goals[index]), _GOAL_RADIUS, _tinted(goal_color(index)))
    return image


def draw_path(image: Image, maze: Maze, path: ArrayLike, color: Color) -> None:
    """Draw a path into an image of the map.

    :param image: Image from :func:`draw_map`, changed in place.
    :param maze: The map.
    :param path: Positions (n, 2), in the coordinates of :meth:`~ardae_envs.mazes.Maze.center`.
    :param color: Color of the path.
    """
    points = np.asarray(path, np.float64).reshape(-1, 2)
    if len(points) > 1:
        pieces = np.maximum(1, np.ceil(np.abs(np.diff(points, axis=0)).max(axis=1) * _POINTS_PER_CELL)).astype(int)
        knots = np.concatenate([[0], np.cumsum(pieces)])
        dense = np.arange(knots[-1] + 1)
        points = np.stack([np.interp(dense, knots, points[:, axis]) for axis in range(2)], axis=1)
    rows, columns = _pixels(maze, points)
    reach = max(1, round(_TRAIL_RADIUS * PIXELS))
    for dr in range(-reach + 1, reach + 1):
        for dc in range(-reach + 1, reach + 1):
            inside_rows = (rows + dr).clip(0, image.shape[0] - 1)
            image[inside_rows, (columns + dc).clip(0, image.shape[1] - 1)] = color


def draw_agent(image: Image, maze: Maze, position: Sequence[float], color: Color = (30, 30, 30)) -> None:
    """Draw the agent into an image of the map, at a position in cells."""
    _draw_disc(image, maze, position, AGENT_RADIUS, color)


def _pixels(maze: Maze, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pixel rows and columns of positions (n, 2)."""
    n_rows, n_columns = maze.walls.shape
    rows = ((n_rows / 2 - points[:, 1]) * PIXELS).astype(np.intp)
    return rows, ((points[:, 0] + n_columns / 2) * PIXELS).astype(np.intp)


def _draw_disc(image: Image, maze: Maze, center: Sequence[float], radius: float, color: Color) -> None:
    n_rows, n_columns = maze.walls.shape
    row, column = (n_rows / 2 - center[1]) * PIXELS, (center[0] + n_columns / 2) * PIXELS
    reach = radius * PIXELS
    top, left = max(0, int(row - reach)), max(0, int(column - reach))
    region = image[top : int(row + reach) + 2, left : int(column + reach) + 2]
    y, x = np.ogrid[: region.shape[0], : region.shape[1]]
    region[(y + top + 0.5 - row) ** 2 + (x + left + 0.5 - column) ** 2 <= reach**2] = color


def _tinted(color: Color) -> Color:
    """Return a color mixed with white, so that a path in the color itself is visible on it."""
    red, green, blue = (255 - (255 - value) // 2 for value in color)
    return red, green, blue
