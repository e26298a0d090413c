"""Compiled drawing against that of pygame, pixel by pixel."""

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray
from pygame import gfxdraw

from ardae_envs.rasterizer import draw_polygons

WIDTH, HEIGHT = 160, 120


def _anything(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """All kinds of quadrilaterals, including self-intersecting ones, inside and outside the image."""
    return rng.normal((WIDTH / 2, HEIGHT / 2), size, (4, 4, 2))


def _squares(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    angles = np.arange(4) * np.pi / 2 + rng.uniform(0, 2 * np.pi, (4, 1))
    return rng.normal((WIDTH / 2, HEIGHT / 2), size, (4, 1, 2)) + size * np.stack([np.cos(angles), np.sin(angles)], -1)


def _upright(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """Horizontal and vertical edges, each between two slanted ones."""
    corners = _anything(rng, size)
    corners[:, 1, 0], corners[:, 2, 1] = corners[:, 0, 0], corners[:, 1, 1]
    return corners


def _diagonal(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    """Edges at 45 degrees, where the fixed-point word of a line overflows at each step."""
    corners = np.round(_anything(rng, size))
    steps = np.round(rng.normal(0, size, (4, 1)))
    corners[:, 1] = corners[:, 0] + steps
    corners[:, 2] = corners[:, 1] + steps * [-1, 1]
    return corners


@pytest.mark.parametrize("size", [2, 20, 100, 600])
@pytest.mark.parametrize("polygons", [_anything, _squares, _upright, _diagonal])
def test_same_pixels_as_pygame(polygons: object, size: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        corners, colors = polygons(rng, size), rng.uniform(0, 256, (4, 3))  # type: ignore[operator]
        surface, pixels = pygame.Surface((WIDTH, HEIGHT)), np.zeros((HEIGHT, WIDTH), dtype=np.uint32)
        for points, color in zip(corners.astype(int).tolist(), colors.astype(int).tolist(), strict=True):
            gfxdraw.aapolygon(surface, points, color)
            gfxdraw.filled_polygon(surface, points, color)
        draw_polygons(pixels, 0, corners, colors, (1.0, 0.0), 1.0, (0.0, 0.0))
        np.testing.assert_array_equal(pixels, pygame.surfarray.array2d(surface).T & 0xFFFFFF)


def test_transformation() -> None:
    """A rotation by 90 degrees, then a zoom, then a shift."""
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint32)
    corners = np.array([[(1.0, 0.0), (3.0, 0.0), (3.0, 1.0), (1.0, 1.0)]])
    draw_polygons(pixels, 0, corners, np.full((1, 3), 255.0), (0.0, 1.0), 10.0, (50.0, 20.0))
    rows, columns = np.nonzero(pixels == 0xFFFFFF)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 50, 40, 50)


def test_rows_that_are_not_wanted() -> None:
    rng = np.random.default_rng(1)
    corners, colors = _squares(rng, 60), rng.uniform(0, 256, (4, 3))
    whole, part = np.zeros((2, HEIGHT, WIDTH), dtype=np.uint32)
    for pixels, first_row in ((whole, 0), (part, 40)):
        draw_polygons(pixels, first_row, corners, colors, (1.0, 0.0), 1.0, (0.0, 0.0))
    np.testing.assert_array_equal(part[40:], whole[40:])
    assert (part != whole).any()
