"""Environment steps as rows of tensors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs


class Transitions(NamedTuple):
    """A batch of n environment steps."""

    observations: PyTorchObs
    actions: th.Tensor  # (n, ...), in the environment's range
    next_observations: PyTorchObs
    terminated: th.Tensor  # (n), 1 where the next observation is a terminal state


def select(transitions: Transitions, index: Any) -> Transitions:
    """Return the rows that a slice or a tensor of indices selects."""
    return Transitions(*(_map(lambda part: part[index], part) for part in transitions))


def concatenate(parts: Sequence[Transitions]) -> Transitions:
    """Return the rows of all parts in one batch."""
    columns = list(zip(*parts, strict=True))
    if isinstance(parts[0].observations, dict):
        names = parts[0].observations
        joined = [{name: th.cat([part[name] for part in columns[k]]) for name in names} for k in (0, 2)]
        return Transitions(joined[0], th.cat(columns[1]), joined[1], th.cat(columns[3]))
    return Transitions(*(th.cat(column) for column in columns))


def _map(function: Callable[[th.Tensor], th.Tensor], part: Any) -> Any:
    return {name: function(value) for name, value in part.items()} if isinstance(part, dict) else function(part)
