"""From a controller's outputs to an environment's actions, and from these to the memory's inputs."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_envs.actions import one_axis_to_discrete, steer_and_pedal
from ardae_rl.common.checks import check_choice

Array = NDArray[Any]
Floats = NDArray[np.float32]

NAMES = ("auto", "identity", "steer_and_pedal", "one_axis")
_CAR_RACING = spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))


class ActionMap(ABC):
    """Outputs in [-1, 1] to actions of a space.

    :param space: of the environment's actions
    """

    n_outputs: int
    memory_dim: int

    @abstractmethod
    def actions(self, outputs: Floats) -> Array:
        """(n, n_outputs) to (n, ...), elements of the space."""

    @abstractmethod
    def inputs(self, actions: Array) -> Floats:
        """What the memory is told of actions (n, ...): (n, memory_dim)."""


class Scaled(ActionMap):
    """Each output is an action, over the range of its axis."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not (isinstance(space, spaces.Box) and space.is_bounded()):
            raise ValueError(f"action_map='identity' with {space}: accepted are bounded real actions")
        self._space = space
        self._low, self._high = space.low.reshape(-1), space.high.reshape(-1)
        self.n_outputs = self.memory_dim = len(self._low)

    def actions(self, outputs: Floats) -> Array:
        actions = self._low + 0.5 * (outputs + 1) * (self._high - self._low)
        return actions.clip(self._low, self._high).astype(self._space.dtype).reshape(-1, *self._space.shape)

    def inputs(self, actions: Array) -> Floats:
        return actions.reshape(len(actions), -1).astype(np.float32)


class SteerAndPedal(Scaled):
    """CarRacing's three actions from two outputs, see :func:`~ardae_envs.actions.steer_and_pedal`."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if space != _CAR_RACING:
            raise ValueError(f"action_map='steer_and_pedal' with {space}: accepted are CarRacing's actions")
        super().__init__(space)
        self.n_outputs = 2

    def actions(self, outputs: Floats) -> Array:
        return steer_and_pedal(outputs)


class OneAxis(ActionMap):
    """Discrete actions, in their order, from one output; the memory has them one-hot."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"action_map='one_axis' with {space}: accepted are discrete actions")
        self.n_outputs, self.memory_dim, self._start = 1, int(space.n), int(space.start)
        self._thresholds = np.linspace(-1, 1, self.memory_dim + 1)[1:-1].tolist()

    def actions(self, outputs: Floats) -> Array:
        return one_axis_to_discrete(outputs, self._thresholds) + self._start

    def inputs(self, actions: Array) -> Floats:
        return np.eye(self.memory_dim, dtype=np.float32)[actions.reshape(-1) - self._start]


def make_action_map(name: str, space: spaces.Space[Any]) -> ActionMap:
    """:param name: "identity", "steer_and_pedal", "one_axis", or "auto" for what fits to the space

    :raises ValueError: for another name, or a space that it does not fit to
    """
    check_choice("action_map", name, NAMES)
    if name == "auto":
        name = "one_axis" if isinstance(space, spaces.Discrete) else "identity"
        if space == _CAR_RACING:
            name = "steer_and_pedal"
    return {"identity": Scaled, "steer_and_pedal": SteerAndPedal, "one_axis": OneAxis}[name](space)
