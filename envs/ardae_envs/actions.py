"""Fewer actions: wrappers, and the functions that they are made of, which a policy can hold inside itself."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

Array = NDArray[Any]


def steer_and_pedal(actions: Array) -> Array:
    """CarRacing's actions from (steering, pedal), (..., 2) to (..., 3): gas above zero, brake below, never both."""
    actions = np.asarray(actions)
    steering, pedal = actions[..., 0], actions[..., 1]
    return np.stack([steering, pedal.clip(0, 1), (-pedal).clip(0, 1)], axis=-1).astype(np.float32)


def one_axis_to_discrete(actions: Array, thresholds: Sequence[float] = (-1 / 3, 1 / 3)) -> Array:
    """The number of thresholds at or below a real value, (..., 1) to (...,)."""
    return np.searchsorted(np.asarray(thresholds), np.asarray(actions)[..., 0], side="right")


class ReducedActionSpace(gym.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """An environment with an action space of its own, mapped to the environment's.

    :param env: the environment
    :param action_space: what an agent sees
    :param to_action: from an element of it to an action of the environment
    """

    def __init__(
        self, env: gym.Env[Any, Any], action_space: spaces.Space[Any], to_action: Callable[[Any], Any]
    ) -> None:
        # Of a subclass, its own arguments are recorded already
        RecordConstructorArgs.__init__(self, action_space=action_space, to_action=to_action)
        gym.ActionWrapper.__init__(self, env)
        self.action_space = action_space
        self.to_action = to_action

    def action(self, action: Any) -> Any:
        return self.to_action(action)


class SteerAndPedal(ReducedActionSpace):
    """CarRacing with two actions in [-1, 1]: steering, and one axis of gas and brake.

    :param env: with CarRacing's continuous actions
    :raises ValueError: if it has others
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        space = env.action_space
        if not (isinstance(space, spaces.Box) and space.shape == (3,)):
            raise ValueError(f"env: got the action space {space}; accepted: three real actions, as CarRacing's")
        RecordConstructorArgs.__init__(self)
        super().__init__(env, spaces.Box(-1.0, 1.0, (2,), np.float32), steer_and_pedal)


class OneAxisToDiscrete(ReducedActionSpace):
    """Discrete actions in an order along one real axis, as World Models' controller has them in DoomTakeCover.

    :param env: with discrete actions
    :param order: actions from the lowest value to the highest; by default all, as they are numbered
    :param thresholds: between them; by default they part [-1, 1] equally
    :raises ValueError: if the environment has no discrete actions, or these do not fit to them
    """

    def __init__(
        self, env: gym.Env[Any, Any], order: Sequence[int] | None = None, thresholds: Sequence[float] | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, order=order, thresholds=thresholds)
        space = env.action_space
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"env: got the action space {space}; accepted: discrete actions")
        order = range(int(space.start), int(space.start + space.n)) if order is None else order
        if not order or not all(space.contains(np.int64(action)) for action in order):
            raise ValueError(f"order={order!r}: accepted are actions of {space}")
        if thresholds is None:
            thresholds = np.linspace(-1, 1, len(order) + 1)[1:-1].tolist()
        if len(thresholds) != len(order) - 1 or list(thresholds) != sorted(thresholds):
            raise ValueError(f"thresholds={thresholds!r}: accepted are {len(order) - 1} in ascending order")
        self.order, self.thresholds = np.array(order), tuple(thresholds)
        super().__init__(env, spaces.Box(-1.0, 1.0, (1,), np.float32), self._discrete)

    def _discrete(self, action: Array) -> np.int64:
        return np.int64(self.order[one_axis_to_discrete(action, self.thresholds)])
