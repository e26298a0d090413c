"""Smaller action spaces: wrappers, and the underlying functions, which policies can also apply themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

Array = NDArray[Any]


def steer_and_pedal(actions: Array) -> Array:
    """Map (steering, pedal), shape (..., 2), to CarRacing's (steering, gas, brake), shape (..., 3).

    A positive pedal is gas, a negative one is brake; the two are never applied together.
    """
    actions = np.asarray(actions)
    steering, pedal = actions[..., 0], actions[..., 1]
    return np.stack([steering, pedal.clip(0, 1), (-pedal).clip(0, 1)], axis=-1).astype(np.float32)


def one_axis_to_discrete(actions: Array, thresholds: Sequence[float] = (-1 / 3, 1 / 3)) -> Array:
    """Return the number of thresholds at or below each real value, shape (...,), for actions of shape (..., 1)."""
    return np.searchsorted(np.asarray(thresholds), np.asarray(actions)[..., 0], side="right")


class ReducedActionSpace(gym.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """Give an environment another action space, and map its elements to the environment's actions by a function.

    Example:

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> from ardae_envs.actions import ReducedActionSpace
    >>> torques = np.array([[-2.0], [0.0], [2.0]], np.float32)
    >>> env = ReducedActionSpace(gym.make("Pendulum-v1"), gym.spaces.Discrete(3), lambda action: torques[action])
    >>> _ = env.reset(seed=0)
    >>> observation, *_ = env.step(2)

    :param env: The environment.
    :param action_space: The action space for the agent.
    :param to_action: Function that maps an element of ``action_space`` to an action of the environment.
    """

    def __init__(
        self, env: gym.Env[Any, Any], action_space: spaces.Space[Any], to_action: Callable[[Any], Any]
    ) -> None:
        # A subclass has recorded its own arguments already, and this call does not replace them
        RecordConstructorArgs.__init__(self, action_space=action_space, to_action=to_action)
        gym.ActionWrapper.__init__(self, env)
        self.action_space = action_space
        self.to_action = to_action

    def action(self, action: Any) -> Any:
        return self.to_action(action)


class SteerAndPedal(ReducedActionSpace):
    """Give CarRacing two actions in [-1, 1]: steering, and one axis for gas and brake.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.actions import SteerAndPedal
    >>> env = SteerAndPedal(gym.make("CarRacing-v3"))
    >>> env.action_space
    Box(-1.0, 1.0, (2,), float32)
    >>> env.action([0.5, -1.0])  # steering, gas, brake
    array([0.5, 0. , 1. ], dtype=float32)

    :param env: Environment with CarRacing's continuous actions.
    :raises ValueError: If its actions are not three real numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        space = env.action_space
        if not (isinstance(space, spaces.Box) and space.shape == (3,)):
            raise ValueError(f"`env` must have three real actions, as CarRacing has, got {space}")
        RecordConstructorArgs.__init__(self)
        super().__init__(env, spaces.Box(-1.0, 1.0, (2,), np.float32), steer_and_pedal)


class OneAxisToDiscrete(ReducedActionSpace):
    """Arrange discrete actions along one real axis, as the controller of World Models does in DoomTakeCover.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.actions import OneAxisToDiscrete
    >>> env = OneAxisToDiscrete(gym.make("MountainCar-v0"))  # left, nothing, right
    >>> [int(env.action([value])) for value in (-0.9, 0.0, 0.9)]
    [0, 1, 2]

    :param env: Environment with discrete actions.
    :param order: Actions from the lowest value to the highest; by default all, in the order of their numbers.
    :param thresholds: Boundaries between consecutive actions; by default they divide [-1, 1] equally.
    :raises ValueError: If the environment's actions are not discrete, or if the other arguments do not match them.
    """

    def __init__(
        self, env: gym.Env[Any, Any], order: Sequence[int] | None = None, thresholds: Sequence[float] | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, order=order, thresholds=thresholds)
        space = env.action_space
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"`env` must have discrete actions, got {space}")
        order = range(int(space.start), int(space.start + space.n)) if order is None else order
        if len(order) == 0 or not all(space.contains(np.int64(action)) for action in order):
            raise ValueError(f"`order` must consist of actions of {space}, got {order!r}")
        if thresholds is None:
            thresholds = np.linspace(-1, 1, len(order) + 1)[1:-1].tolist()
        if len(thresholds) != len(order) - 1 or list(thresholds) != sorted(thresholds):
            raise ValueError(f"`thresholds` must be {len(order) - 1} ascending numbers, got {thresholds!r}")
        self.order, self.thresholds = np.array(order), tuple(thresholds)
        super().__init__(env, spaces.Box(-1.0, 1.0, (1,), np.float32), self._discrete)

    def _discrete(self, action: Array) -> np.int64:
        return np.int64(self.order[one_axis_to_discrete(action, self.thresholds)])
