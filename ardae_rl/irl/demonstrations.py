"""Check that demonstrations fit an environment: keys, shapes, dtypes and ranges."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, maybe_transpose

from ardae_rl.common.finite import check_all_finite
from ardae_rl.irl.trajectories import Trajectory

_ACTION_TOLERANCE, _OBSERVATION_TOLERANCE = 1e-4, 1e-2  # as fractions of a range


def check_demonstrations_fit(
    demonstrations: Sequence[Trajectory], observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> None:
    """Check that there are demonstrations, and that they fit an environment with these spaces.

    Images may have their channels first or last, as in SB3. Values may exceed their range by a tolerance: 1e-4 of the
    range for actions, 1e-2 for observations.

    :raises ValueError: Without demonstrations, for other keys or shapes, and for values that are not finite or out of
        range.
    """
    if not demonstrations:
        raise ValueError("`demonstrations` must have at least one trajectory, got none")
    for k, demonstration in enumerate(demonstrations):
        name = f"demonstrations[{k}]"
        _check_part(f"{name}.observations", demonstration.observations, observation_space, _OBSERVATION_TOLERANCE)
        _check_part(f"{name}.actions", demonstration.actions, action_space, _ACTION_TOLERANCE)
        if demonstration.rewards is not None:
            check_all_finite(f"{name}.rewards", demonstration.rewards)


def _check_part(name: str, values: Any, space: spaces.Space[Any], tolerance: float) -> None:
    if isinstance(values, dict) != isinstance(space, spaces.Dict):
        kinds = ("a dictionary", "an array")
        expected, got = kinds if isinstance(space, spaces.Dict) else kinds[::-1]
        raise ValueError(f"`{name}` must be {expected}, got {got}")
    if isinstance(space, spaces.Dict):
        if values.keys() != space.spaces.keys():
            raise ValueError(f"`{name}` must have the keys {sorted(space.spaces)}, got {sorted(values)}")
        for key, part in space.spaces.items():
            _check_part(f"{name}[{key!r}]", values[key], part, tolerance)
        return
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`{name}` must be numeric, got {array.dtype}")
    if isinstance(space, spaces.Box) and is_image_space(space):
        array = maybe_transpose(array, space)
    if array.shape[1:] != (space.shape or ()):
        raise ValueError(f"`{name}` must have rows of shape {space.shape}, got {array.shape[1:]}")
    check_all_finite(name, array)
    low, high = _bounds(space)
    if low is None or high is None:
        return
    with np.errstate(invalid="ignore"):
        margin = np.nan_to_num(tolerance * (high - low), posinf=0.0)
    outside = (array < low - margin) | (array > high + margin)
    if outside.any():
        first, n_outside = array[outside][0], int(outside.sum())
        raise ValueError(f"`{name}` must be in the range of {space}, got {first} (values out of range: {n_outside})")


def _bounds(space: spaces.Space[Any]) -> tuple[Any, Any]:
    if isinstance(space, spaces.Box):
        return space.low.astype(np.float64), space.high.astype(np.float64)
    if isinstance(space, spaces.Discrete):
        return np.float64(space.start), np.float64(space.start + space.n - 1)
    if isinstance(space, spaces.MultiDiscrete):
        return space.start.astype(np.float64), (space.start + space.nvec - 1).astype(np.float64)
    if isinstance(space, spaces.MultiBinary):
        return np.float64(0), np.float64(1)
    return None, None
