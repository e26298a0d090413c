"""Demonstrations in files and in Minari datasets."""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ardae_rl.common.optional import require
from ardae_rl.irl.trajectories import Trajectory, from_named_arrays, named_arrays

MINARI = "minari:"  # prefix that distinguishes the name of a dataset from the path of a file
_REQUIRED = ("lengths", "terminated", "actions")
# Errors that NumPy and zipfile raise for files that are damaged, encrypted or of another kind
_UNREADABLE = (
    *(ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError, RuntimeError),
    *(OSError, EOFError, BadZipFile, UnpicklingError, zlib.error),
)

Demonstrations = Sequence[Trajectory] | Path | str  # episodes, or where to load them from


def as_trajectories(demonstrations: Demonstrations | None) -> list[Trajectory] | None:
    """Return demonstrations as a list, loaded if a path or ``minari:ID`` is given; None for None.

    :raises TypeError: For values that are not trajectories.
    :raises ValueError: If they cannot be loaded.
    """
    if demonstrations is None:
        return None
    if isinstance(demonstrations, (str, Path)):
        return load_trajectories(demonstrations)
    return _checked_trajectories("demonstrations", demonstrations)


def save_trajectories(path: Path | str, trajectories: Sequence[Trajectory]) -> None:
    """Write trajectories to an .npz file, which contains only arrays.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.irl import Trajectory, load_trajectories, save_trajectories
    >>> save_trajectories("demos.npz", [Trajectory(np.zeros((4, 3)), np.zeros((3, 1)))])
    >>> len(load_trajectories("demos.npz"))
    1

    :param path: Path of the file; missing folders are created.
    :param trajectories: Trajectories, of which all or none have rewards.
    :raises ValueError: Without trajectories, if only some of them have rewards, or if their dictionary observations
        have different keys.
    :raises TypeError: For values that are not trajectories.
    """
    trajectories = _checked_trajectories("trajectories", trajectories)
    if not trajectories:
        raise ValueError("`trajectories` must have at least one trajectory, got none")
    rewards = [trajectory.rewards for trajectory in trajectories if trajectory.rewards is not None]
    if len(rewards) not in (0, len(trajectories)):
        raise ValueError(
            f"`trajectories` must all have rewards or all have none, got rewards in {len(rewards)} of "
            f"{len(trajectories)}"
        )
    names = named_arrays(trajectories[0].observations).keys()
    for k, trajectory in enumerate(trajectories):
        if (other := named_arrays(trajectory.observations).keys()) != names:
            raise ValueError(
                f"`trajectories[{k}]` must have {', '.join(names)}, as the first one has, got {', '.join(other)}"
            )
    arrays: dict[str, Any] = {
        "lengths": np.array([len(trajectory) for trajectory in trajectories]),
        "terminated": np.array([trajectory.terminated for trajectory in trajectories]),
        "actions": np.concatenate([trajectory.actions for trajectory in trajectories]),
    }
    for name in names:
        arrays[name] = np.concatenate([named_arrays(trajectory.observations)[name] for trajectory in trajectories])
    if rewards:
        arrays["rewards"] = np.concatenate(rewards)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_trajectories(source: Path | str) -> list[Trajectory]:
    """Return the trajectories in a file written by :func:`save_trajectories`, or in a Minari dataset.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.irl import Trajectory, load_trajectories, save_trajectories
    >>> save_trajectories("demos.npz", [Trajectory(np.zeros((4, 3)), np.zeros((3, 1)), terminated=True)])
    >>> load_trajectories("demos.npz")[0].terminated
    True

    :param source: Path of the file, or ``minari:ID``.
    :raises ValueError: If there is no such file or dataset, or if the file contains something else.
    :raises ImportError: For a Minari dataset, if Minari is not installed.
    """
    check_demonstrations(source)
    if str(source).startswith(MINARI):
        return minari_trajectories(str(source).removeprefix(MINARI))
    try:
        return _read(source)
    except _UNREADABLE as error:
        if "`demonstrations`" in str(error):
            raise
        raise ValueError(
            f"`demonstrations` must be an .npz file of trajectories, got {source}, which cannot be read: it is empty, "
            "truncated, or does not contain numeric arrays"
        ) from error


def _read(path: Path | str) -> list[Trajectory]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    _check_rows(arrays, path)
    trajectories = []
    stops = np.cumsum(arrays["lengths"])
    for k, (stop, n) in enumerate(zip(stops, arrays["lengths"], strict=True)):
        # Each of the k preceding episodes has one more observation than actions
        observations = {
            name: value[stop - n + k : stop + k + 1] for name, value in arrays.items() if _is_observation(name)
        }
        trajectories.append(
            Trajectory(
                from_named_arrays(observations),
                arrays["actions"][stop - n : stop],
                arrays["rewards"][stop - n : stop] if "rewards" in arrays else None,
                bool(arrays["terminated"][k]),
            )
        )
    return trajectories


def _check_rows(arrays: dict[str, Any], path: Path | str) -> None:
    """Check that the numbers of rows of a file's arrays match the lengths of its episodes."""
    lengths = arrays["lengths"]
    n_steps, n_episodes = int(lengths.sum()), len(lengths)
    for name, array in arrays.items():
        expected = n_steps + n_episodes if _is_observation(name) else n_steps
        if name in ("lengths", "terminated"):
            expected = n_episodes
        if len(array) != expected:
            raise ValueError(
                f"`demonstrations` must be an .npz file of trajectories, got {path}, in which {name} has {len(array)} "
                f"rows instead of {expected}"
            )


def check_demonstrations(source: Path | str) -> None:
    """Check that demonstrations exist, without reading them.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.irl import Trajectory, check_demonstrations, save_trajectories
    >>> save_trajectories("demos.npz", [Trajectory(np.zeros((4, 3)), np.zeros((3, 1)))])
    >>> check_demonstrations("demos.npz")

    :param source: Path of a file written by :func:`save_trajectories`, or ``minari:ID``.
    :raises ValueError: If there is no such file or dataset, or if the file contains something else.
    :raises ImportError: For a Minari dataset, if Minari is not installed.
    """
    if str(source).startswith(MINARI):
        _minari_dataset(str(source).removeprefix(MINARI))
        return
    path = Path(source)
    if not path.is_file():
        raise ValueError(f"`demonstrations` must be an .npz file of trajectories or minari:ID, got no file {path}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {"observations" if _is_observation(name) else name for name in arrays}
            missing = sorted({*_REQUIRED, "observations"} - found)
    except (*_UNREADABLE, AttributeError) as error:  # AttributeError for a single array
        raise ValueError(f"`demonstrations` must be an .npz file of trajectories, got {path}") from error
    if missing:
        raise ValueError(
            f"`demonstrations` must be an .npz file of trajectories, got {path} without {', '.join(missing)}"
        )


def minari_trajectories(dataset_id: str) -> list[Trajectory]:
    """Return the episodes of a local Minari dataset.

    :param dataset_id: Name of the dataset in Minari.
    :raises ImportError: If Minari is not installed.
    :raises ValueError: If there is no such dataset, or its observations or actions are not arrays.
    """
    dataset = _minari_dataset(dataset_id)
    try:
        return [
            Trajectory(episode.observations, episode.actions, episode.rewards, bool(episode.terminations[-1]))
            for episode in dataset.iterate_episodes()
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`demonstrations` must be a Minari dataset whose observations are arrays or dictionaries of arrays, and "
            f"whose actions are arrays, got {dataset_id!r}: {error}"
        ) from error


def _minari_dataset(dataset_id: str) -> Any:
    require("minari", "irl")
    import minari

    try:
        return minari.load_dataset(dataset_id)
    except (FileNotFoundError, ValueError) as error:  # Minari's message refers to arguments of its own function
        raise ValueError(
            f"`demonstrations` must be a local Minari dataset, got {dataset_id!r}; `minari list local` shows the local "
            f"ones, and `minari download {dataset_id}` fetches it"
        ) from error


def _checked_trajectories(name: str, values: Any) -> list[Trajectory]:
    if not isinstance(values, Iterable):
        raise TypeError(f"`{name}` must be a sequence of trajectories, got a {type(values).__name__}")
    trajectories = list(values)
    for k, value in enumerate(trajectories):
        if not isinstance(value, Trajectory):
            raise TypeError(f"`{name}[{k}]` must be a Trajectory, got a {type(value).__name__}")
    return trajectories


def _is_observation(name: str) -> bool:
    return name.split("/")[0] == "observations"
