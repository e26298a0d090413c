"""Episodes of arrays on disk: appended one by one, read through memory maps, whole after a kill at any moment.

A folder holds ``header.json``, which says what the episodes are, and shards of some episodes each. Shard 3 is
``00003.json``, its index, with a row for each episode, and for each field a file such as ``00003.frames``, in which
the arrays of these episodes follow one another. The index is replaced in one step after the arrays are written: an
episode is there once it is in the index, and what a killed process left behind it is overwritten by the next one.
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

Array = NDArray[Any]
Integers = NDArray[np.int64]
Row = dict[str, Any]

MAX_EPISODES = 256  # of a shard: its index is written anew for each
_MAX_MAPS = 256  # each holds an open file


class Field(NamedTuple):
    """Arrays of one name: an episode of length T has T + extra rows of this shape."""

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
    """Of each episode: its length, its shard, and how many steps and episodes lie before it in that shard."""

    lengths: Integers
    shards: Integers
    steps_before: Integers
    episodes_before: Integers


class EpisodeFiles:
    """The shards of a folder. One process at a time may append; others may read what was there when they opened it.

    :param folder: with its header, see :func:`settle_header`
    :param fields: by their names
    :param shard_bytes: no shard grows beyond, but for that of a single larger episode
    :raises ValueError: for a file that lost a part of what the index accounts for
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

    @property
    def n_bytes(self) -> int:
        """Of all arrays."""
        return sum(field.n_bytes(self.n_steps + field.extra * len(self)) for field in self.fields.values())

    def array(self, name: str, episode: int) -> Array:
        """Of one episode, a read-only view of the file."""
        (episode,) = self.check([episode])
        first = self._first_rows(name, episode)
        shard = int(self._places.shards[episode])
        return self._mapped(name, shard)[first : first + int(self.lengths[episode]) + self.fields[name].extra]

    def gather(self, name: str, episodes: Integers, steps: Integers) -> Array:
        """Single rows, (*shape of the broadcast arguments, *shape of a row).

        :param episodes: numbers of episodes
        :param steps: numbers of rows in them
        :raises ValueError: for a row that an episode does not have
        """
        episodes, steps = np.broadcast_arrays(episodes, steps)
        if (steps < 0).any() or (steps >= self.lengths[episodes] + self.fields[name].extra).any():
            raise ValueError(f"steps={steps!r}: accepted are the rows of {name} that the episodes have")
        field = self.fields[name]
        rows, shards = self._first_rows(name, episodes) + steps, self._places.shards[episodes]
        result = np.empty((*rows.shape, *field.shape), field.dtype)
        for shard in np.unique(shards):
            here = shards == shard
            result[here] = self._mapped(name, int(shard))[rows[here]]
        return result

    def check(self, episodes: Integers | Sequence[int]) -> Integers:
        """:raises ValueError: unless these are numbers of episodes, at least one"""
        numbers = np.asarray(episodes)
        whole = numbers.ndim == 1 and np.issubdtype(numbers.dtype, np.integer)
        if not whole or not len(numbers) or numbers.min() < 0 or numbers.max() >= len(self):
            raise ValueError(f"episodes={episodes!r}: accepted are numbers from 0 to {len(self) - 1}, at least one")
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
        """Write an episode, and after that its row of the index.

        :param arrays: of each field, (T + extra, *shape)
        :param row: with T, at least 1, as "length", and whatever else JSON holds
        :return: the episode's number
        :raises ValueError: for arrays that do not fit, or if another process has appended meanwhile
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
            raise ValueError(f"{self.folder} has indices {found}: accepted are those of all shards from the first on")
        shards = []
        for number in range(len(found)):
            shard = _Shard.of(json.loads(self._path(number, "json").read_text())["episodes"])
            for name, field in self.fields.items():
                path, needed = self._path(number, name), field.n_bytes(shard.n_rows(field))
                size = path.stat().st_size if path.exists() else 0
                if size < needed:
                    raise ValueError(f"{path} has {size} bytes: accepted are {needed} or more, as its index says")
            shards.append(shard)
        return shards

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
        """The row as JSON gives it back."""
        if row["length"] < 1:
            raise ValueError(f"length={row['length']!r}: accepted are episodes of at least one step")
        for name, field in self.fields.items():
            array, shape = arrays[name], (row["length"] + field.extra, *field.shape)
            if array.dtype != field.dtype or array.shape != shape:
                raise ValueError(f"{name} of {array.dtype}, shape {array.shape}: accepted is {field.dtype}, {shape}")
            if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
                raise ValueError(
                    f"{name}: {(~np.isfinite(array)).sum()} values are not finite; accepted are finite ones"
                )
        try:
            result: Row = json.loads(json.dumps(row, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{row}: accepted is what JSON can hold ({error})") from error
        return result

    def _check_alone(self, number: int, shard: _Shard) -> None:
        path = self._path(number, "json")
        there = tuple(json.loads(path.read_text())["episodes"]) if path.exists() else ()
        if there != shard.rows or self._path(number + 1, "json").exists():
            raise ValueError(f"{self.folder}: another process has appended episodes; accepted is one at a time")


def settle_header(folder: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's episodes are; a new folder's are what is asked for.

    :param folder: made if missing
    :param asked: None for a value means whatever the folder has
    :raises ValueError: if the folder was made with something else, or is new and not all is said
    """
    path = folder / "header.json"
    asked = json.loads(json.dumps(asked))
    if not path.exists():
        missing = [name for name, value in asked.items() if value is None]
        if missing:
            raise ValueError(f"folder={str(folder)!r} is new: accepted is one that was filled, or {missing} with it")
        if folder.exists() and any(found.suffix != ".tmp" for found in folder.iterdir()):
            raise ValueError(f"folder={str(folder)!r} holds other files: accepted is a new or empty one")
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, asked)
    header: dict[str, Any] = json.loads(path.read_text())
    for name, value in asked.items():
        if value is not None and value != header.get(name):
            raise ValueError(f"{name}={value!r}: accepted is {header.get(name)!r}, which {folder} was made with")
    return header


def write_json(path: Path, content: Any) -> None:
    """Replace a file in one step."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
