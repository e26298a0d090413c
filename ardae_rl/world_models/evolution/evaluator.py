"""Base of the evaluators, which play episodes with candidates and measure their returns."""

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ardae_rl.common.finite import check_all_finite

Array = NDArray[Any]


class Episodes(NamedTuple):
    """Results of n episodes, as arrays (n,).

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import Episodes
    >>> episodes = Episodes(returns=np.array([3.0, 5.0]), lengths=np.array([10, 12]), given_up=np.array([False, True]))
    >>> float(episodes.returns.mean())
    4.0
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    given_up: NDArray[np.bool_]  # whether the evaluator's patience ended the episode


class Returns(NamedTuple):
    """Results of a population on common seeds, as arrays (population, n_seeds).

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import Returns
    >>> flags = np.zeros((2, 2), bool)
    >>> Returns(np.array([[1.0, 3.0], [2.0, 6.0]]), lengths=np.full((2, 2), 10), given_up=flags).fitness
    array([2., 4.])
    """

    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]
    given_up: NDArray[np.bool_]  # whether the evaluator's patience ended the episode

    @property
    def n_steps(self) -> int:
        """Number of environment steps of all episodes."""
        return int(self.lengths.sum())

    @property
    def fitness(self) -> NDArray[np.float64]:
        """Mean return of each candidate, (population,)."""
        return self.returns.mean(1)


class Evaluator:
    """Base of classes that play episodes with many candidates.

    As a context manager, it closes environments and workers.

    The results depend only on parameters and seeds, not on the distribution of episodes over workers, except that the
    rounding of a policy's matrix products can depend on the number of rows.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import Episodes, Evaluator
    >>> class Sphere(Evaluator):
    ...     def play(self, parameters, seeds, give_up=True):
    ...         n = len(seeds)
    ...         return Episodes(-(parameters**2).sum(1), np.ones(n, int), np.zeros(n, bool))
    >>> Sphere().evaluate([[1.0, 2.0], [0.0, 1.0]], seeds=[0]).fitness
    array([-5., -1.])
    """

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        """Play one episode for each row.

        :param parameters: Parameters of the candidates, (n, n_parameters).
        :param seeds: Seeds of the episodes, (n,).
        :param give_up: Whether the evaluator's patience ends episodes.
        :raises ValueError: For another number of parameters, or actions that are not finite.
        """
        raise NotImplementedError

    def update(self, state: dict[str, Any]) -> None:
        """Load a state, such as new weights of the encoder, into every copy of the policy.

        :raises ValueError: If the policy has no ``load_state_dict``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close environments and end workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def evaluate(self, parameters: ArrayLike, seeds: Sequence[int], give_up: bool = True) -> Returns:
        """Evaluate every candidate on the same seeds, so that none has easier episodes than others.

        :param parameters: Parameters of the candidates, (population, n_parameters).
        :param seeds: Seeds of the episodes, >= 0.
        :param give_up: Whether the evaluator's patience ends episodes.
        :raises ValueError: For other shapes, or parameters or actions that are not finite.
        """
        candidates, starts = _check(parameters, seeds)
        rows, columns = np.meshgrid(np.arange(len(candidates)), np.arange(len(starts)))  # seeds x population
        episodes = self.play(candidates[rows.ravel()], starts[columns.ravel()], give_up)
        returns, lengths, given_up = episodes
        shape = rows.shape
        return Returns(returns.reshape(shape).T, lengths.reshape(shape).T, given_up.reshape(shape).T)


def standard_error(returns: NDArray[np.float64]) -> float:
    """Return the standard error of the mean of returns (n,); NaN for a single one."""
    return float(returns.std(ddof=1) / math.sqrt(len(returns))) if len(returns) > 1 else math.nan


def split(parameters: Array, seeds: Array, n_chunks: int) -> list[tuple[Array, Array]]:
    """Split rows of parameters and seeds into at most ``n_chunks`` parts of about equal size."""
    n_chunks = min(n_chunks, len(seeds))
    return list(zip(np.array_split(parameters, n_chunks), np.array_split(seeds, n_chunks), strict=True))


def join(chunks: Sequence[Episodes]) -> Episodes:
    """Concatenate episodes in the order of the chunks."""
    return Episodes(*(np.concatenate(values) for values in zip(*chunks, strict=True)))


def _check(parameters: ArrayLike, seeds: Sequence[int]) -> tuple[Array, Array]:
    candidates, starts = np.asarray(parameters, dtype=np.float64), np.asarray(seeds)
    if candidates.ndim != 2 or len(candidates) == 0:
        raise ValueError(f"`parameters` must have shape (population, n_parameters), got {candidates.shape}")
    check_all_finite("parameters", candidates)
    if starts.ndim != 1 or len(starts) == 0 or starts.dtype.kind not in "iu" or starts.min() < 0:
        raise ValueError(f"`seeds` must be one or more integers >= 0, got {seeds!r}")
    return candidates, starts
