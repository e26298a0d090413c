"""Batches of environment steps as tensors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.irl.trajectories import Trajectory, select_rows

_BLOCK = 4096  # number of rows that networks process at once, so that demonstrated images fit into memory


class Transitions(NamedTuple):
    """A batch of n environment steps."""

    observations: PyTorchObs
    actions: th.Tensor  # (n, ...), in the environment's range
    next_observations: PyTorchObs
    terminated: th.Tensor  # (n,), 1 where the next observation is a terminal state


def make_transitions(
    network: BaseModel, observations: Any, actions: Any, next_observations: Any, terminated: Any
) -> Transitions:
    """Return transitions, given as arrays from an environment, as tensors on the device of a network."""
    before, after = (network.obs_to_tensor(part)[0] for part in (observations, next_observations))
    is_terminal = th.as_tensor(np.asarray(terminated), dtype=th.float32, device=network.device)
    taken = th.as_tensor(np.array(actions), device=network.device)
    taken = taken.float() if taken.is_floating_point() else taken
    return Transitions(before, taken, after, is_terminal)


def demonstrated_transitions(demonstrations: Sequence[Trajectory], network: BaseModel) -> list[Transitions]:
    """Return the transitions of each trajectory as tensors on the device of a network."""
    demos = []
    for trajectory in demonstrations:
        before, after = (select_rows(trajectory.observations, rows) for rows in (slice(0, -1), slice(1, None)))
        demos.append(make_transitions(network, before, trajectory.actions, after, trajectory.terminations))
    return demos


def select(transitions: Transitions, index: Any) -> Transitions:
    """Return the rows that a slice or a tensor of indices selects."""
    return Transitions(*(_rows(part, index) for part in transitions))


def n_rows(observations: PyTorchObs) -> int:
    """Return the number of observations."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)


def row_blocks(observations: PyTorchObs) -> list[Any]:
    """Split observations into blocks of rows that a network can process at once."""
    return [_rows(observations, rows) for rows in _blocks(n_rows(observations))]


def blocks(transitions: Transitions) -> list[Transitions]:
    """Split transitions into blocks of rows that a network can process at once."""
    return [select(transitions, rows) for rows in _blocks(len(transitions.actions))]


def concatenate(parts: Sequence[Transitions]) -> Transitions:
    """Join several batches into one."""
    columns = list(zip(*parts, strict=True))
    if isinstance(parts[0].observations, dict):
        names = parts[0].observations
        joined = [{name: th.cat([part[name] for part in columns[k]]) for name in names} for k in (0, 2)]
        return Transitions(joined[0], th.cat(columns[1]), joined[1], th.cat(columns[3]))
    return Transitions(*(th.cat(column) for column in columns))


def _blocks(n: int) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, n, _BLOCK)]


def _rows(part: Any, index: Any) -> Any:
    return {name: value[index] for name, value in part.items()} if isinstance(part, dict) else part[index]
