"""Episodes of arrays on disk: appended one by one, read through memory maps, and safe against kills at any moment.

A folder has a file ``header.json``, which describes the episodes, and shards of several episodes each. Shard 3 has an
index ``00003.json`` with a row for each episode, and for each field a file such as ``00003.frames``, in which the
arrays of these episodes are concatenated. The index is replaced atomically after the arrays are written: an episode
exists once it is in the index. Data that a killed process wrote beyond the index is overwritten by the next process.
"""

import copy
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ardae_rl.runs.files import write_json
from ardae_rl.world_models.records import read_record

Array = NDArray[Any]
Integers = NDArray[np.int64]
Row = dict[str, Any]

MAX_EPISODES = 256  # per shard; every new episode rewrites its shard's index
_MAX_MAPS = 256  # memory maps, each of which keeps a file open


class Field(NamedTuple):
    """Type of the arrays of one field: for an episode of length T, T + extra rows of this shape."""

    dtype: str
    shape: tuple[int, ...]
    extra: int = 0

    def n_bytes(self, n_rows: int) -> int:
        return n_rows * math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Shard:
    rows: tuple[Row, ...] = ()
    n_steps: int = 0

    def n_rows(self, field: Field) -> int:
        return self.n_steps + field.extra * len(self.rows)

    def plus(self, row: Row) -> "_Shard":
        return _Shard((*self.rows, row), self.n_steps + row["length"])

    @staticmethod
    def of(rows: Sequence[Row]) -> "_Shard":
        return _Shard(tuple(rows), sum(row["length"] for row in rows))


class _Places(NamedTuple):
    """The length and shard of each episode, and the numbers of steps and episodes before it in that shard."""

    lengths: Integers
    shards: Integers
    steps_before: Integers
    episodes_before: Integers


class EpisodeFiles:
    """The shards of a folder. One process at a time may append; others may read what existed when they opened them.

    :param folder: Folder with a header, see :func:`settle_header`.
    :param fields: Fields by name.
    :param shard_bytes: Maximum size of a shard, except for one that consists of a single larger episode.
    :raises ValueError: If an index is damaged, or another file is shorter than its index says.
    """

    def __init__(self, folder: Path, fields: Mapping[str, Field], shard_bytes: float) -> None:
        self.folder, self.fields, self.shard_bytes = folder, dict(fields), shard_bytes
        self._shards = self._read()
        self._map = lru_cache(_MAX_MAPS)(self._open)
        self.rows = [row for shard in self._shards for row in shard.rows]
        self.n_steps = sum(shard.n_steps for shard in self._shards)
        self._table: _Places | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Integers:
        return self._places.lengths

    def array(self, name: str, episode: int) -> Array:
        """Return the array of one episode as a read-only view of the file."""
        (episode,) = self.check([episode])
        first = self._first_rows(name, episode)
        shard = int(self._places.shards[episode])
        return self._mapped(name, shard)[first : first + int(self.lengths[episode]) + self.fields[name].extra]

    def gather(self, name: str, episodes: Integers, steps: Integers) -> Array:
        """Return single rows: an array with the broadcast shape of the arguments, followed by the shape of a row.

        :param name: Name of the field.
        :param episodes: Numbers of the episodes.
        :param steps: Numbers of the rows within these episodes.
        :raises ValueError: For a row that an episode does not have.
        """
        episodes, steps = np.broadcast_arrays(episodes, steps)
        if (steps < 0).any() or (steps >= self.lengths[episodes] + self.fields[name].extra).any():
            raise ValueError(f"`steps` must be row numbers of {name!r} within the episodes, got {steps!r}")
        field = self.fields[name]
        rows, shards = self._first_rows(name, episodes) + steps, self._places.shards[episodes]
        result = np.empty((*rows.shape, *field.shape), field.dtype)
        for shard in np.unique(shards):
            selected = shards == shard
            result[selected] = self._mapped(name, int(shard))[rows[selected]]
        return result

    def check(self, episodes: Integers | Sequence[int]) -> Integers:
        """Return numbers of episodes as an array.

        :raises ValueError: Unless these are numbers of episodes, at least one.
        """
        numbers = np.asarray(episodes)
        whole = numbers.ndim == 1 and np.issubdtype(numbers.dtype, np.integer)
        if not whole or not len(numbers) or numbers.min() < 0 or numbers.max() >= len(self):
            raise ValueError(f"`episodes` must be one or more integers from 0 to {len(self) - 1}, got {episodes!r}")
        return numbers.astype(np.int64)

    def first(self, n_episodes: int) -> "EpisodeFiles":
        """Return a view of the first episodes, for reading."""
        view, room = copy.copy(self), n_episodes
        view._shards = []
        for shard in self._shards:
            view._shards.append(_Shard.of(shard.rows[: max(0, room)]))
            room -= len(shard.rows)
        view._map = lru_cache(_MAX_MAPS)(view._open)
        view.rows = self.rows[:n_episodes]
        view.n_steps = sum(shard.n_steps for shard in view._shards)
        view._table = None
        return view

    def append(self, arrays: Mapping[str, Array], row: Row) -> int:
        """Write an episode, and then its row in the index.

        :param arrays: Arrays of all fields, (T + extra, *shape).
        :param row: Values for the index; ``"length"`` is T >= 1, and the others must be serializable as JSON.
        :return: Number of the episode.
        :raises ValueError: For arrays that do not fit, or if another process has appended in the meantime.
        """
        row = self._checked(arrays, row)
        number = self._shard_with_room(row)
        before = self._shards[number] if number < len(self._shards) else _Shard()
        self._check_alone(number, before)
        for name, field in self.fields.items():
            with self._path(number, name).open("ab") as file:
                file.truncate(field.n_bytes(before.n_rows(field)))
                file.write(np.ascontiguousarray(arrays[name]).data)
                file.flush()
                os.fsync(file.fileno())
        after = before.plus(row)
        write_json(self._path(number, "json"), {"episodes": after.rows})
        self._shards[number:] = [after]
        self.rows.append(row)
        self.n_steps += row["length"]
        self._table = None
        return len(self) - 1

    def _read(self) -> list[_Shard]:
        found = sorted(path.stem for path in self.folder.glob("[0-9]*.json"))
        if found != [self._path(number, "json").stem for number in range(len(found))]:
            raise ValueError(f"`folder` must have the indices of all shards, got {found} in {self.folder}")
        shards = []
        for number in range(len(found)):
            shard = _Shard.of(self._index(number))
            for name, field in self.fields.items():
                path, needed = self._path(number, name), field.n_bytes(shard.n_rows(field))
                size = path.stat().st_size if path.exists() else 0
                if size < needed:
                    raise ValueError(f"`folder` must have {needed} bytes or more in {path}, got {size}")
            shards.append(shard)
        return shards

    def _index(self, number: int) -> list[Row]:
        rows: list[Row] = read_record(self._path(number, "json"), "episodes")["episodes"]
        return rows

    @property
    def _places(self) -> _Places:
        if self._table is None:
            places = []
            for number, shard in enumerate(self._shards):
                steps = 0
                for i, row in enumerate(shard.rows):
                    places.append((row["length"], number, steps, i))
                    steps += row["length"]
            self._table = _Places(*np.array(places, np.int64).reshape(-1, 4).T)
        return self._table

    def _first_rows(self, name: str, episodes: Any) -> Any:
        return self._places.steps_before[episodes] + self.fields[name].extra * self._places.episodes_before[episodes]

    def _mapped(self, name: str, shard: int) -> Array:
        return self._map(name, shard, self._shards[shard].n_rows(self.fields[name]))

    def _open(self, name: str, shard: int, n_rows: int) -> Array:
        field = self.fields[name]
        return np.memmap(self._path(shard, name), field.dtype, mode="r", shape=(n_rows, *field.shape))

    def _path(self, shard: int, suffix: str) -> Path:
        return self.folder / f"{shard:05d}.{suffix}"

    def _size(self, shard: _Shard) -> int:
        return sum(field.n_bytes(shard.n_rows(field)) for field in self.fields.values())

    def _shard_with_room(self, row: Row) -> int:
        if not self._shards:
            return 0
        last = self._shards[-1]
        room = len(last.rows) < MAX_EPISODES and self._size(last.plus(row)) <= self.shard_bytes
        return len(self._shards) - (1 if room else 0)

    def _checked(self, arrays: Mapping[str, Array], row: Row) -> Row:
        """Check the arrays and the row; return the row after a round trip through JSON."""
        if row["length"] < 1:
            raise ValueError(f"`length` must be >= 1, got {row['length']}")
        for name, field in self.fields.items():
            array, shape = arrays[name], (row["length"] + field.extra, *field.shape)
            if array.dtype != field.dtype or array.shape != shape:
                raise ValueError(f"`{name}` must be {field.dtype} of shape {shape}, got {array.dtype} of {array.shape}")
            if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
                raise ValueError(f"`{name}` must be finite, got {(~np.isfinite(array)).sum()} values that are not")
        try:
            result: Row = json.loads(json.dumps(row, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"`row` must be serializable as JSON ({error}), got {row}") from error
        return result

    def _check_alone(self, number: int, shard: _Shard) -> None:
        on_disk = tuple(self._index(number)) if self._path(number, "json").exists() else ()
        if on_disk != shard.rows or self._path(number + 1, "json").exists():
            raise ValueError(f"`folder` must be appended to by one process at a time, got two in {self.folder}")


def settle_header(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header of a folder, after writing it for a new folder.

    :param folder: Folder of the episodes; created if missing.
    :param asked: Expected values by name; None accepts the recorded value.
    :raises ValueError: If recorded values differ, if the header is damaged, or if the folder is new and a value is
        None.
    """
    path = folder / "header.json"
    asked = json.loads(json.dumps(asked))
    if not path.exists():
        missing = [name for name, value in asked.items() if value is None]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise ValueError(f"{names} must be given for a new folder, got None for {folder}")
        if folder.exists() and any(found.suffix != ".tmp" for found in folder.iterdir()):
            raise ValueError(f"`folder` must be empty or a folder of episodes, got {folder}, which has other files")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
    header = read_record(path)
    for name, value in asked.items():
        if value is not None and value != header.get(name):
            raise ValueError(f"`{name}` must be {header.get(name)!r}, as recorded in {folder}, got {value!r}")
    return header
