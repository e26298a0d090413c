"""What all evaluators have in common: candidates and seeds in, returns out."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class Episodes(NamedTuple):
    """Episodes that were played, each of the three (n,)."""

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    given_up: NDArray[np.bool_]  # ended by the evaluator's patience


class Returns(NamedTuple):
    """What came of a population, each of the three (population, n_seeds); all candidates played the same seeds."""

    returns: NDArray[np.float64]  # NaN where a race did without the episode
    lengths: NDArray[np.int64]
    given_up: NDArray[np.bool_]  # ended by the evaluator's patience

    @property
    def n_steps(self) -> int:
        """Environment steps, of all episodes together."""
        return int(self.lengths.sum())

    @property
    def fitness(self) -> NDArray[np.float64]:
        """Mean return of each candidate, (population,).

        Seeds are not equally hard. Where a race did without an episode, the candidate's first return stands for it,
        plus how much more that seed than the first gave those that played both.
        """
        played = self.lengths > 0
        everywhere = self.returns[np.isfinite(self.returns).all(1)]
        if played.all() or len(everywhere) == 0:
            return self.returns.mean(1)
        first = self.returns[:, :1]
        return np.where(played, self.returns, first + (everywhere - everywhere[:, :1]).mean(0)).mean(1)


class Evaluator:
    """Plays episodes of many candidates; as a context manager it ends what it started.

    The results depend on parameters and seeds alone, not on how the episodes are spread: to rounding, which in a
    pilot's matrix products can depend on the number of rows.
    """

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        """One episode for each row.

        :param parameters: (n, n_parameters)
        :param seeds: (n,), which environments are reset with
        :param give_up: whether the evaluator's patience ends episodes
        :raises ValueError: for another number of parameters, and for actions that are not finite
        """
        raise NotImplementedError

    def update(self, state: dict[str, Any]) -> None:
        """Have every copy of the pilot load this state, such as new weights of its encoder.

        :raises ValueError: if the pilot has no ``load_state_dict``
        """
        raise NotImplementedError

    def close(self) -> None:
        """End environments and workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def evaluate(self, parameters: ArrayLike, seeds: Sequence[int], give_up: bool = True) -> Returns:
        """Every candidate on the same seeds, so that none is better by an easier episode.

        :param parameters: (population, n_parameters)
        :param seeds: from 0 up
        :param give_up: whether the evaluator's patience ends episodes
        :raises ValueError: for other shapes, numbers that are not finite, and actions that are not
        """
        candidates, starts = _check(parameters, seeds)
        rows, columns = np.meshgrid(np.arange(len(candidates)), np.arange(len(starts)))  # seeds x population
        episodes = self.play(candidates[rows.ravel()], starts[columns.ravel()], give_up)
        returns, lengths, given_up = episodes
        shape = rows.shape
        return Returns(returns.reshape(shape).T, lengths.reshape(shape).T, given_up.reshape(shape).T)

    def evaluate_racing(self, parameters: ArrayLike, seeds: Sequence[int], give_up: bool = True) -> Returns:
        """The same, but after the first seed the better half goes on alone.

        :return: with NaN and zero steps for the episodes that were not played; ``fitness`` makes up for them
        """
        candidates, _ = _check(parameters, seeds)
        first = self.evaluate(candidates, seeds[:1], give_up)
        if len(seeds) == 1:
            return first
        order = np.argsort(-first.returns[:, 0], kind="stable")  # NaN at the end
        better = np.sort(order[: (len(candidates) + 1) // 2])
        rest = self.evaluate(candidates[better], seeds[1:], give_up)
        shape = (len(candidates), len(seeds) - 1)
        missing = np.full(shape, np.nan), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for values, played in zip(missing, rest, strict=True):
            values[better] = played
        return Returns(*(np.hstack(pair) for pair in zip(first, missing, strict=True)))


def split(parameters: Array, seeds: Array, n_chunks: int) -> list[tuple[Array, Array]]:
    """Rows of parameters and seeds in at most so many parts of about equal size."""
    n_chunks = min(n_chunks, len(seeds))
    return list(zip(np.array_split(parameters, n_chunks), np.array_split(seeds, n_chunks), strict=True))


def join(chunks: Sequence[Episodes]) -> Episodes:
    """Episodes in the order of the chunks."""
    return Episodes(*(np.concatenate(values) for values in zip(*chunks, strict=True)))


def _check(parameters: ArrayLike, seeds: Sequence[int]) -> tuple[Array, Array]:
    candidates, starts = np.asarray(parameters, dtype=np.float64), np.asarray(seeds)
    if candidates.ndim != 2 or len(candidates) == 0:
        raise ValueError(f"parameters of shape {candidates.shape}: accepted is (population, n_parameters)")
    if not np.isfinite(candidates).all():
        n_bad = int((~np.isfinite(candidates)).sum())
        raise ValueError(f"parameters: {n_bad} of {candidates.size} values are not finite; accepted are finite numbers")
    if starts.ndim != 1 or len(starts) == 0 or starts.dtype.kind not in "iu" or starts.min() < 0:
        raise ValueError(f"seeds={seeds!r}: accepted are one or more whole numbers from 0 up")
    return candidates, starts
