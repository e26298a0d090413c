"""The polygons of the official car, all transformed at once."""

import math
from typing import Any

import numpy as np
from gymnasium.envs.box2d import car_dynamics as official
from numpy.typing import NDArray

_STRIPE_LENGTH = 1.2  # radians along a wheel's circumference
_HALF_WIDTH = official.WHEEL_W * official.SIZE


class CarShape:
    """The polygons that draw the official car, in the official order: wheels, each with its white stripe, and the hull.

    Example:

    >>> from gymnasium.envs.box2d.car_racing import CarRacing
    >>> from ardae_envs.car_shape import CarShape
    >>> env = CarRacing()
    >>> _ = env.reset(seed=0)
    >>> corners, visible = CarShape(env.car).place()
    >>> corners.shape[0]
    2

    :param car: The car. Its bodies may move, but their polygons must not change.
    """

    def __init__(self, car: Any) -> None:
        self._bodies = list(car.drawlist)
        self.colors: list[list[int]] = []
        self._slices: list[slice] = []
        self._stripes: list[tuple[int, int]] = []  # per wheel: the index of its body and of its stripe's polygon
        corners: list[tuple[float, float]] = []
        body_of: list[int] = []
        for number, body in enumerate(self._bodies):
            polygons = [list(fixture.shape.vertices) for fixture in body.fixtures]
            colors = [[int(c * 255) for c in body.color]] * len(polygons)
            if "phase" in body.__dict__:
                self._stripes.append((number, len(self._slices) + len(polygons)))
                polygons.append([(-_HALF_WIDTH, 0), (_HALF_WIDTH, 0), (_HALF_WIDTH, 0), (-_HALF_WIDTH, 0)])
                colors.append(list(official.WHEEL_WHITE))
            for polygon in polygons:
                self._slices.append(slice(len(corners), len(corners) + len(polygon)))
                corners += polygon
                body_of += [number] * len(polygon)
            self.colors += colors
        self._x, self._y = np.array(corners, dtype=np.float32).T.copy()
        self._body_of = np.array(body_of)

    def place(self) -> tuple[NDArray[np.float64], list[tuple[int, slice]]]:
        """Compute the current positions of all corners.

        :return: Corners (2, n) in meters; and, for each visible polygon, its index and the slice of its corners.
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
        # In single precision and in this order, as in Box2D
        cos, sin, right, up = np.array(poses, dtype=np.float32)[self._body_of].T
        corners = np.stack([(cos * self._x - sin * self._y) + right, (sin * self._x + cos * self._y) + up])
        visible = [(number, corners_of) for number, corners_of in enumerate(self._slices) if number not in hidden]
        return corners.astype(np.float64), visible


def _stripe(phase: float) -> tuple[float, float] | None:
    """Return where a wheel's stripe begins and ends along the wheel, in meters; None while it is hidden."""
    ends = []
    above = 0
    for angle in (phase, phase + _STRIPE_LENGTH):
        cos = math.cos(angle)
        if math.sin(angle) > 0:
            above += 1
            cos = math.copysign(1.0, cos)
        ends.append(official.WHEEL_R * cos * official.SIZE)
    return None if above == 2 else (ends[0], ends[1])
