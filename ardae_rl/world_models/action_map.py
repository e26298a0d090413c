"""Maps from a controller's outputs to an environment's actions, and from actions to the memory's inputs."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_envs.actions import one_axis_to_discrete, steer_and_pedal
from ardae_rl.common.checks import check_choice

Array = NDArray[Any]
Floats = NDArray[np.float32]

NAMES = ("auto", "identity", "steer_and_pedal", "one_axis")
_CAR_RACING = spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))


class ActionMap(ABC):
    """Maps outputs in [-1, 1] to the actions of a space."""

    n_outputs: int
    memory_dim: int  # dimension of the memory's input

    @abstractmethod
    def actions(self, outputs: Floats) -> Array:
        """Return actions (n, ...) for outputs (n, n_outputs)."""

    @abstractmethod
    def inputs(self, actions: Array) -> Floats:
        """Return the memory's inputs (n, memory_dim) for actions (n, ...)."""

    @abstractmethod
    def tensor_actions(self, outputs: th.Tensor) -> th.Tensor:
        """Like :meth:`actions`, for tensors."""

    @abstractmethod
    def tensor_inputs(self, actions: th.Tensor) -> th.Tensor:
        """Like :meth:`inputs`, for tensors."""


class Scaled(ActionMap):
    """Rescales each output to the range of one dimension of the action.

    :param space: Bounded Box.
    :raises ValueError: For any other space.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not (isinstance(space, spaces.Box) and space.is_bounded()):
            raise ValueError(f"`action_space` must be a bounded Box for the action map 'identity', got {space}")
        self._space = space
        self._low, self._high = space.low.reshape(-1), space.high.reshape(-1)
        self.n_outputs = self.memory_dim = len(self._low)

    def actions(self, outputs: Floats) -> Array:
        actions = self._low + 0.5 * (outputs + 1) * (self._high - self._low)
        return actions.clip(self._low, self._high).astype(self._space.dtype).reshape(-1, *self._space.shape)

    def inputs(self, actions: Array) -> Floats:
        return actions.reshape(len(actions), -1).astype(np.float32)

    def tensor_actions(self, outputs: th.Tensor) -> th.Tensor:
        low, high = outputs.new_tensor(self._low), outputs.new_tensor(self._high)
        actions = low + 0.5 * (outputs + 1) * (high - low)
        return actions.clamp(low, high).view(-1, *self._space.shape)

    def tensor_inputs(self, actions: th.Tensor) -> th.Tensor:
        return actions.flatten(1)


class SteerAndPedal(Scaled):
    """Maps two outputs to CarRacing's three actions, see :func:`~ardae_envs.actions.steer_and_pedal`."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if space != _CAR_RACING:
            raise ValueError(f"`action_space` must be CarRacing's for the action map 'steer_and_pedal', got {space}")
        super().__init__(space)
        self.n_outputs = 2

    def actions(self, outputs: Floats) -> Array:
        return steer_and_pedal(outputs)

    def tensor_actions(self, outputs: th.Tensor) -> th.Tensor:
        steering, pedal = outputs.unbind(-1)
        return th.stack([steering, pedal.clamp(0, 1), (-pedal).clamp(0, 1)], -1)


class OneAxis(ActionMap):
    """Divides the range of one output into equal intervals, one per discrete action. Memory inputs are one-hot."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        if not isinstance(space, spaces.Discrete):
            raise ValueError(f"`action_space` must be Discrete for the action map 'one_axis', got {space}")
        self.n_outputs, self.memory_dim, self._start = 1, int(space.n), int(space.start)
        self._thresholds = np.linspace(-1, 1, self.memory_dim + 1)[1:-1].tolist()

    def actions(self, outputs: Floats) -> Array:
        return one_axis_to_discrete(outputs, self._thresholds) + self._start

    def inputs(self, actions: Array) -> Floats:
        return np.eye(self.memory_dim, dtype=np.float32)[actions.reshape(-1) - self._start]

    def tensor_actions(self, outputs: th.Tensor) -> th.Tensor:
        return (outputs >= outputs.new_tensor(self._thresholds)).sum(-1) + self._start

    def tensor_inputs(self, actions: th.Tensor) -> th.Tensor:
        return th.eye(self.memory_dim, device=actions.device)[actions - self._start]


def make_action_map(name: str, space: spaces.Space[Any]) -> ActionMap:
    """Return an action map by its name.

    :param name: ``"identity"``, ``"steer_and_pedal"``, ``"one_axis"``, or ``"auto"`` for the one that fits the space.
    :param space: Action space of the environment.
    :raises ValueError: For an unknown name, or a space that the map does not fit.
    """
    check_choice("action_map", name, NAMES)
    if name == "auto":
        name = "one_axis" if isinstance(space, spaces.Discrete) else "identity"
        if space == _CAR_RACING:
            name = "steer_and_pedal"
    return {"identity": Scaled, "steer_and_pedal": SteerAndPedal, "one_axis": OneAxis}[name](space)
