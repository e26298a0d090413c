"""Filled polygons with antialiased outlines, compiled by Numba. The pixels are identical to ``pygame.gfxdraw``'s.

``gfxdraw`` uses the algorithms of SDL_gfx: Wu's lines in fixed point, which are clipped at the image border first, and
scan lines between rounded intersections.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ardae_envs.optional import missing

try:
    from numba import njit
except ImportError as error:
    raise missing("numba", "box2d") from error

_BITS = 16  # number of fractional bits in fixed point
_HALF = 1 << (_BITS - 1)
_OVERFLOW = 0xFFFFFFFF


@njit(cache=True)
def draw_polygons(
    pixels: NDArray[np.uint32],
    first_row: int,
    corners: NDArray[np.float64],
    colors: NDArray[np.float64],
    rotation: tuple[float, float],
    zoom: float,
    offset: tuple[float, float],
) -> None:
    """Draw rotated, scaled and shifted quadrilaterals in order, the outline of each before its interior.

    :param pixels: The image, (height, width), 0xRRGGBB; modified in place.
    :param first_row: First row that is needed; earlier rows may be wrong.
    :param corners: Corners of the quadrilaterals before the transformation, (n, 4, 2).
    :param colors: Red, green and blue from 0 to 255, (n, 3); truncated to integers.
    :param rotation: Cosine and sine of the angle.
    :param zoom: Pixels per unit of length.
    :param offset: Pixels from the left and from the top.
    """
    height, width = pixels.shape
    cos, sin = rotation
    x, y, crossings = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64)
    for polygon in range(len(corners)):
        for i in range(4):
            across, along = corners[polygon, i]
            x[i] = int((cos * across - sin * along) * zoom + offset[0])
            y[i] = int((sin * across + cos * along) * zoom + offset[1])
        # An outline may extend a pixel beyond its corners
        if x.max() < -1 or x.min() > width or y.max() < first_row - 1 or y.min() > height:
            continue
        red, green, blue = colors[polygon]
        color = int(red) << 16 | int(green) << 8 | int(blue)
        for i in range(4):
            _draw_line(pixels, x[i], y[i], x[(i + 1) % 4], y[(i + 1) % 4], color)
        _fill(pixels, first_row, x, y, crossings, color)


@njit(cache=True)
def _fill(pixels: Any, first_row: int, x: Any, y: Any, crossings: Any, color: int) -> None:
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
                position = n
                while position and crossings[position - 1] > crossing:
                    crossings[position] = crossings[position - 1]
                    position -= 1
                crossings[position] = crossing
                n += 1
        for i in range(0, n - 1, 2):
            left, right = crossings[i] + 1 + _HALF >> _BITS, crossings[i + 1] - 1 + _HALF >> _BITS
            if left > right:
                left, right = right, left
            pixels[row, max(left, 0) : max(right + 1, 0)] = color


@njit(cache=True)
def _draw_line(pixels: Any, x1: int, y1: int, x2: int, y2: int, color: int) -> None:
    """Draw a line without its last point; horizontal and vertical lines include it."""
    height, width = pixels.shape
    visible, x1, y1, x2, y2 = _clipped(x1, y1, x2, y2, width - 1, height - 1)
    if not visible:
        return
    pixels[y1, x1] = color
    if y1 > y2:
        x1, y1, x2, y2 = x2, y2, x1, y1
    dx, dy, direction = abs(x2 - x1), y2 - y1, 1 if x2 > x1 else -1
    if dx == 0:
        pixels[y1 : y2 + 1, x1] = color
    elif dy == 0:
        pixels[y1, min(x1, x2) : max(x1, x2) + 1] = color
    else:
        steep = dy > dx
        # Sideways motion per step as a fraction of a pixel, in the upper bits of a 32-bit word that overflows
        sideways = (((dx << _BITS) // dy if steep else (dy << _BITS) // dx) << _BITS) & _OVERFLOW
        traveled = 0
        for _ in range((dy if steep else dx) - 1):
            before = traveled
            traveled = (traveled + sideways) & _OVERFLOW
            if traveled <= before:
                if steep:
                    x1 += direction
                else:
                    y1 += 1
            if steep:
                y1 += 1
            else:
                x1 += direction
            weight = traveled >> 24
            pixels[y1, x1] = _mixed(pixels[y1, x1], color, 255 * (255 - weight) >> 8)
            x, y = (x1 + direction, y1) if steep else (x1, y1 + 1)
            if 0 <= x < width and y < height:
                pixels[y, x] = _mixed(pixels[y, x], color, 255 * weight >> 8)


@njit(cache=True)
def _mixed(old: int, new: int, weight: int) -> int:
    mixed = 0
    for shift in (16, 8, 0):
        before, after = (old >> shift) & 255, (new >> shift) & 255
        mixed |= (before + ((after - before) * weight >> 8)) << shift
    return mixed


@njit(cache=True)
def _clipped(x1: int, y1: int, x2: int, y2: int, right: int, bottom: int) -> tuple[bool, int, int, int, int]:
    """Clip a line by the Cohen-Sutherland algorithm in single precision; the points may be swapped."""
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
    """Return the outcode of a point, whose bits mean: left of the image, right of it, below, above."""
    return (x < 0) | (x > right) << 1 | (y > bottom) << 2 | (y < 0) << 3
