"""The official car's polygons, all placed at once."""

import math
from typing import Any

import numpy as np
from gymnasium.envs.box2d import car_dynamics as official
from numpy.typing import NDArray

_STRIPE_LENGTH = 1.2  # radians of a wheel's turn
_HALF_WIDTH = official.WHEEL_W * official.SIZE


class CarShape:
    """What the official car is drawn from, in the official order: wheels, each with its white stripe, and the hull.

    :param car: the car; its bodies move, their polygons do not change
    """

    def __init__(self, car: Any) -> None:
        self._bodies = list(car.drawlist)
        self.colours: list[list[int]] = []
        self._slices: list[slice] = []
        self._stripes: list[tuple[int, int]] = []  # of each wheel: its number and that of its stripe's polygon
        corners: list[tuple[float, float]] = []
        body_of: list[int] = []
        for number, body in enumerate(self._bodies):
            polygons = [list(fixture.shape.vertices) for fixture in body.fixtures]
            colours = [[int(c * 255) for c in body.color]] * len(polygons)
            if "phase" in body.__dict__:
                self._stripes.append((number, len(self._slices) + len(polygons)))
                polygons.append([(-_HALF_WIDTH, 0), (_HALF_WIDTH, 0), (_HALF_WIDTH, 0), (-_HALF_WIDTH, 0)])
                colours.append(list(official.WHEEL_WHITE))
            for polygon in polygons:
                self._slices.append(slice(len(corners), len(corners) + len(polygon)))
                corners += polygon
                body_of += [number] * len(polygon)
            self.colours += colours
        self._x, self._y = np.array(corners, dtype=np.float32).T.copy()
        self._body_of = np.array(body_of)

    def place(self) -> tuple[NDArray[np.float64], list[tuple[int, slice]]]:
        """Where the polygons are now.

        :return: corners (2, n) in metres; the visible polygons' numbers, with the range of each one's corners
        """
        hidden = set()
        for wheel, polygon in self._stripes:
            ends = _stripe(self._bodies[wheel].phase)
            if ends is None:
                hidden.add(polygon)
            else:
                self._y[self._slices[polygon]] = ends[0], ends[0], ends[1], ends[1]
        transforms = [body.transform for body in self._bodies]
        poses = [(t.q.c, t.q.s, t.position.x, t.position.y) for t in transforms]
        # In single precision and in this order, as Box2D does it
        cos, sin, right, up = np.array(poses, dtype=np.float32)[self._body_of].T
        corners = np.stack([(cos * self._x - sin * self._y) + right, (sin * self._x + cos * self._y) + up])
        visible = [(number, range_) for number, range_ in enumerate(self._slices) if number not in hidden]
        return corners.astype(np.float64), visible


def _stripe(phase: float) -> tuple[float, float] | None:
    """Where a wheel's stripe begins and ends along the wheel, in metres; None if it is out of sight."""
    ends = []
    above = 0
    for angle in (phase, phase + _STRIPE_LENGTH):
        cos = math.cos(angle)
        if math.sin(angle) > 0:
            above += 1
            cos = math.copysign(1.0, cos)
        ends.append(official.WHEEL_R * cos * official.SIZE)
    return None if above == 2 else (ends[0], ends[1])
