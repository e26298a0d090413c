"""A driver of CarRacing that sees the simulator's state, to make frames and targets for probes of what V sees.

Nothing that it does or knows is used to train an agent.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.box2d.car_racing import TRACK_WIDTH
from numpy.typing import NDArray

from ardae_envs.poles import wrapped_angle

AHEAD = (10, 15, 20)  # tiles
_LOOKAHEAD, _HORIZON = 6, 25  # number of tiles ahead to steer towards, and to slow down for
_MAX_SPEED, _MIN_SPEED, _SLOWING = 50.0, 25.0, 25.0
_GAIN, _DAMPING = 1.5, 0.12  # of the steering: gain of the angle to the point, damping of the car's rotation
_PUSH_SHARE, _PUSH_LENGTH = 0.02, 4  # share of decisions at which a push begins, and its number of decisions


class RoadView(NamedTuple):
    """Where the car is, and what lies ahead."""

    offset: float  # from the center line, in half road widths; positive to the right
    heading: float  # relative to the road, in radians
    bends: tuple[float, ...]  # change of the road's direction over the next 10, 15 and 20 tiles, in radians
    speed: float  # in units of the simulator

    def targets(self) -> NDArray[np.float32]:
        return np.array([self.offset, self.heading, *self.bends, self.speed], np.float32)


TARGETS = ("offset", "heading", *(f"road_{n}" for n in AHEAD), "speed")


def road_view(env: Any) -> RoadView:
    """Return the view from the state of an official CarRacing environment."""
    x, y = env.car.hull.position
    tile = nearest_tile(env)
    _, direction, tile_x, tile_y = env.track[tile]
    offset = ((x - tile_x) * math.cos(direction) + (y - tile_y) * math.sin(direction)) / TRACK_WIDTH
    bends = tuple(wrapped_angle(env.track[(tile + n) % len(env.track)][1] - direction) for n in AHEAD)
    speed = math.hypot(*env.car.hull.linearVelocity)
    return RoadView(offset, wrapped_angle(env.car.hull.angle - direction), bends, speed)


def nearest_tile(env: Any) -> int:
    """Return the index of the tile that is closest to the car."""
    x, y = env.car.hull.position
    places = np.array([tile[2:4] for tile in env.track])
    return int(((places - (x, y)) ** 2).sum(1).argmin())


class ScriptedDriver:
    """Steers towards a point ahead on the center line, slows down for bends, and is pushed now and then.

    :param seed: Seed of the pushes.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._push, self._remaining = 0.0, 0

    def outputs(self, env: Any) -> NDArray[np.float32]:
        """Return steering and pedal in [-1, 1]."""
        tile, track = nearest_tile(env), env.track
        x, y = env.car.hull.position
        _, _, ahead_x, ahead_y = track[(tile + _LOOKAHEAD) % len(track)]
        wanted = math.atan2(x - ahead_x, ahead_y - y)
        hull = env.car.hull
        steering = _DAMPING * hull.angularVelocity - _GAIN * wrapped_angle(wanted - hull.angle)
        direction = track[tile][1]
        bends = [abs(wrapped_angle(track[(tile + n) % len(track)][1] - direction)) for n in range(_HORIZON)]
        speed = math.hypot(*hull.linearVelocity)
        pedal = 0.1 * (max(_MIN_SPEED, _MAX_SPEED - _SLOWING * max(bends)) - speed)
        pedal = min(pedal, max(0.2, 1 - abs(steering)))  # full gas in a bend makes the car slide
        if self._remaining == 0 and self.rng.random() < _PUSH_SHARE:
            self._push, self._remaining = self.rng.uniform(-1, 1), _PUSH_LENGTH
        if self._remaining:
            self._remaining -= 1
            steering = self._push
        return np.clip([steering, pedal], -1, 1).astype(np.float32)
