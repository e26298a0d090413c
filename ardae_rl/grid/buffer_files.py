"""Files of a replay buffer, in parts, so that a checkpoint writes only the rows that are new.

Rows are numbered in the order in which they are added: number k is in row ``k % buffer_size`` of the buffer's arrays,
until number ``k + buffer_size`` replaces it. A folder has a file ``rows_<first>_<stop>.npz`` for each part, with rows
``first`` to ``stop - 1`` of all arrays, and ``rows.json``: the number of rows that were ever added, and the parts in
the order in which they were written. Loading copies them in this order, so that newer rows replace older ones.

A part is never changed. The next folder has hard links to the parts that are still needed (copies, on a file system
without links), and a new part. Each folder is thus complete by itself, and deleting one leaves the others intact; the
disk is free again once the last folder with a part is deleted.

A new part begins with the last row of the former one, whose ``timeouts`` change when its episode is cut off
(:func:`~ardae_rl.grid.segment.truncate_episodes`), and ends one row after the newest, which holds the last next
observation of a buffer with ``optimize_memory_usage``. No other row may change after it was saved.
"""

import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer

from ardae_rl.runs.files import read_json, replacement, sync, write_json

_INDEX = "rows.json"


class _Saved(NamedTuple):
    n_added: int  # rows that were ever added
    parts: list[tuple[int, int]]  # first and stop


def save_buffer(buffer: ReplayBuffer, folder: Path, former: Path | None = None, n_new: int = 0) -> None:
    """Save the rows collected so far; files are on the disk when this returns.

    :param buffer: The replay buffer. Its arrays may have room for many more rows, which are not saved.
    :param folder: Folder for the files.
    :param former: Folder in which this buffer was saved before; None to write all rows.
    :param n_new: Number of rows that were added since then. If the buffer contradicts it, all rows are written.
    """
    size, n_added = buffer.buffer_size, buffer.pos + buffer.buffer_size * buffer.full
    first, kept = n_added - buffer.size(), []
    if former is not None:
        saved = _read_index(former)
        total = saved.n_added + n_new
        if n_new > 0 and (total % size, total >= size) == (buffer.pos, buffer.full):
            n_added, first = total, max(saved.n_added - 1, total - size, 0)
            kept = [part for part in saved.parts if part[0] < first and part[1] > total - size]
            for part in kept:
                _link(_file(former, part), _file(folder, part))
    new = _split(first, n_added + 1, size)
    for part in new:
        with replacement(_file(folder, part), "wb") as file:
            rows: dict[str, Any] = {name: array[_rows(part, size)] for name, array in _arrays(buffer).items()}
            np.savez(file, **rows)
    write_json(folder / _INDEX, _Saved(n_added, kept + new)._asdict())


def load_buffer(buffer: ReplayBuffer, folder: Path) -> None:
    """Fill an empty buffer with the rows in a folder.

    :raises ValueError: If a file is missing or damaged.
    """
    saved = _read_index(folder)
    for part in saved.parts:
        path = _file(folder, part)
        try:
            with np.load(path) as arrays:
                for name, array in _arrays(buffer).items():
                    array[_rows(part, buffer.buffer_size)] = arrays[name]
        except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
            raise _damaged(path) from error
    buffer.pos = saved.n_added % buffer.buffer_size
    buffer.full = saved.n_added >= buffer.buffer_size


def _read_index(folder: Path) -> _Saved:
    index = read_json(folder / _INDEX)
    if index is None:
        raise _damaged(folder / _INDEX)
    return _Saved(index["n_added"], [(first, stop) for first, stop in index["parts"]])


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"`checkpoint` must be intact, got a missing or damaged {path}; delete {path.parent} to start over"
    )


def _split(first: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Split a range of rows where the buffer starts over, so that each part is a slice of its arrays."""
    return list(pairwise([first, *range(first - first % size + size, stop, size), stop]))


def _rows(part: tuple[int, int], size: int) -> slice:
    begin = part[0] % size
    return slice(begin, begin + part[1] - part[0])


def _file(folder: Path, part: tuple[int, int]) -> Path:
    return folder / f"rows_{part[0]}_{part[1]}.npz"


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # not all file systems have links
        shutil.copyfile(old, new)
        sync(new)


def _arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(buffer).items() if isinstance(value, np.ndarray)}
