"""Filled polygons with smoothed outlines, the pixels those of ``pygame.gfxdraw``, compiled by Numba.

``gfxdraw`` has SDL_gfx's algorithms: Wu's lines in fixed point, which are cut off at the picture's border before
anything else, and scan lines between rounded intersections.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

try:
    from numba import njit
except ImportError as error:
    raise gym.error.DependencyNotInstalled(
        "numba is not installed; it comes with: pip install 'ardae-rl[box2d]'"
    ) from error

_BITS = 16  # of the fraction in fixed point
_HALF = 1 << (_BITS - 1)
_OVERFLOW = 0xFFFFFFFF


@njit(cache=True)
def draw_polygons(
    pixels: NDArray[np.uint32],
    first_row: int,
    corners: NDArray[np.float64],
    colours: NDArray[np.float64],
    rotation: tuple[float, float],
    zoom: float,
    offset: tuple[float, float],
) -> None:
    """Draw rotated, scaled and shifted quadrilaterals in their order: of each the outline, then the inside.

    :param pixels: the picture, (height, width), 0xRRGGBB
    :param first_row: rows before it are not wanted, and may be wrong
    :param corners: (n, 4, 2)
    :param colours: (n, 3), red, green and blue from 0 to 255; fractions are cut off
    :param rotation: cosine and sine of the angle
    :param zoom: pixels for a unit of length
    :param offset: pixels from the left and from the top
    """
    height, width = pixels.shape
    cos, sin = rotation
    x, y, crossings = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64)
    for polygon in range(len(corners)):
        for i in range(4):
            across, along = corners[polygon, i]
            x[i] = int((cos * across - sin * along) * zoom + offset[0])
            y[i] = int((sin * across + cos * along) * zoom + offset[1])
        # An outline may lie a pixel beside its corners
        if x.max() < -1 or x.min() > width or y.max() < first_row - 1 or y.min() > height:
            continue
        red, green, blue = colours[polygon]
        colour = int(red) << 16 | int(green) << 8 | int(blue)
        for i in range(4):
            _draw_line(pixels, x[i], y[i], x[(i + 1) % 4], y[(i + 1) % 4], colour)
        _fill(pixels, first_row, x, y, crossings, colour)


@njit(cache=True)
def _fill(pixels: Any, first_row: int, x: Any, y: Any, crossings: Any, colour: int) -> None:
    lowest = y.max()
    for row in range(max(y.min(), first_row, 0), min(lowest, len(pixels) - 1) + 1):
        n = 0
        for i in range(4):
            a, b = i - 1, i
            if y[a] > y[b]:
                a, b = b, a
            if y[a] <= row < y[b] or (row == lowest and y[a] < row <= y[b]):
                share = ((row - y[a]) << _BITS) // (y[b] - y[a])
                crossing = share * (x[b] - x[a]) + (x[a] << _BITS)
                place = n
                while place and crossings[place - 1] > crossing:
                    crossings[place] = crossings[place - 1]
                    place -= 1
                crossings[place] = crossing
                n += 1
        for i in range(0, n - 1, 2):
            left, right = crossings[i] + 1 + _HALF >> _BITS, crossings[i + 1] - 1 + _HALF >> _BITS
            if left > right:
                left, right = right, left
            pixels[row, max(left, 0) : max(right + 1, 0)] = colour


@njit(cache=True)
def _draw_line(pixels: Any, x1: int, y1: int, x2: int, y2: int, colour: int) -> None:
    """From the first point to before the last, but for horizontal and vertical lines, which have their last one."""
    height, width = pixels.shape
    visible, x1, y1, x2, y2 = _cut_off(x1, y1, x2, y2, width - 1, height - 1)
    if not visible:
        return
    pixels[y1, x1] = colour
    if y1 > y2:
        x1, y1, x2, y2 = x2, y2, x1, y1
    dx, dy, direction = abs(x2 - x1), y2 - y1, 1 if x2 > x1 else -1
    if dx == 0:
        pixels[y1 : y2 + 1, x1] = colour
    elif dy == 0:
        pixels[y1, min(x1, x2) : max(x1, x2) + 1] = colour
    else:
        steep = dy > dx
        # Shares of a pixel that the line moves aside at each step, in the upper bits of a word that overflows
        aside = (((dx << _BITS) // dy if steep else (dy << _BITS) // dx) << _BITS) & _OVERFLOW
        moved = 0
        for _ in range((dy if steep else dx) - 1):
            before = moved
            moved = (moved + aside) & _OVERFLOW
            if moved <= before:
                if steep:
                    x1 += direction
                else:
                    y1 += 1
            if steep:
                y1 += 1
            else:
                x1 += direction
            weight = moved >> 24
            pixels[y1, x1] = _mixed(pixels[y1, x1], colour, 255 * (255 - weight) >> 8)
            x, y = (x1 + direction, y1) if steep else (x1, y1 + 1)
            if 0 <= x < width and y < height:
                pixels[y, x] = _mixed(pixels[y, x], colour, 255 * weight >> 8)


@njit(cache=True)
def _mixed(old: int, new: int, weight: int) -> int:
    mixed = 0
    for shift in (16, 8, 0):
        before, after = (old >> shift) & 255, (new >> shift) & 255
        mixed |= (before + ((after - before) * weight >> 8)) << shift
    return mixed


@njit(cache=True)
def _cut_off(x1: int, y1: int, x2: int, y2: int, right: int, bottom: int) -> tuple[bool, int, int, int, int]:
    """Cohen and Sutherland's way, in single precision; the points may have changed places."""
    while True:
        first, second = _side(x1, y1, right, bottom), _side(x2, y2, right, bottom)
        if first & second:
            return False, x1, y1, x2, y2
        if not first | second:
            return True, x1, y1, x2, y2
        if not first:
            x1, y1, x2, y2, first = x2, y2, x1, y1, second
        slope = np.float32(y2 - y1) / np.float32(x2 - x1) if x1 != x2 else np.float32(1)
        if first & 3:
            x = 0 if first & 1 else right
            y1 += int(np.float32(x - x1) * slope)
            x1 = x
        else:
            y = bottom if first & 4 else 0
            if x1 != x2:
                x1 += int(np.float32(y - y1) / slope)
            y1 = y


@njit(cache=True)
def _side(x: int, y: int, right: int, bottom: int) -> int:
    """Bits: left of the picture, right of it, below, above."""
    return (x < 0) | (x > right) << 1 | (y > bottom) << 2 | (y < 0) << 3
