"""Measures of a policy from many sampled episodes: pure functions of the goal that each episode reached.

Goals are integers (n,), with -1 for an episode that reached none.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MARKS = "0123456789"
GROUP = 5  # episodes, of SR5
HIGH_SUCCESS = 0.95  # success rate from which policies are compared by their diversity


def success_rate(goals: ArrayLike) -> float:
    """Return the share of episodes that reached a goal."""
    return float((np.asarray(goals) >= 0).mean())


def reachable_goals(goals: ArrayLike) -> int:
    """Return the number of different goals that the episodes reached."""
    reached = np.unique(np.asarray(goals))
    return int((reached >= 0).sum())


def group_success(goals: ArrayLike, group: int = GROUP) -> float:
    """Return the share of all groups of episodes with at least one success (SR5 for groups of five).

    Counting all groups, instead of consecutive ones, gives the same expectation with less variance.

    :param goals: The goals that the episodes reached; at least ``group`` of them.
    :param group: Number of episodes in a group.
    """
    reached = np.asarray(goals)
    return float(_any_in_group(np.array((reached >= 0).sum()), len(reached), group))


def removal_success(goals: ArrayLike, n_goals: int, group: int = GROUP) -> float:
    """Return the probability that a group of episodes reaches a remaining goal when half of all goals are removed.

    This is the mean of :func:`group_success` over all choices of the remaining goals (half of them, rounded up).

    :param goals: The goals that the episodes reached.
    :param n_goals: Number of goals of the map.
    :param group: Number of episodes in a group.
    """
    reached = np.asarray(goals)
    counts = np.bincount(reached + 1, minlength=n_goals + 1)[1:]
    choices = np.array(list(combinations(range(n_goals), n_goals - n_goals // 2)))
    return float(_any_in_group(counts[choices].sum(axis=1), len(reached), group).mean())


def _any_in_group(n_successes: NDArray[np.int64], n: int, group: int) -> NDArray[np.float64]:
    """Return the share of the groups, out of n episodes, that have at least one success."""
    failures = n - n_successes
    draws = np.arange(group)
    return 1 - (np.maximum(failures[..., None] - draws, 0) / (n - draws)).prod(axis=-1)


def steps_to_goal(goals: ArrayLike, steps: ArrayLike) -> float:
    """Return the mean number of steps of the episodes that reached a goal; NaN if there are none."""
    reached = np.asarray(goals) >= 0
    return float(np.asarray(steps)[reached].mean()) if reached.any() else float("nan")


def interval(
    runs: Sequence[ArrayLike], measure: Callable[[NDArray[np.int64]], float], n_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a measure's mean over runs, resampling runs, then their episodes.

    :param runs: The goals that the episodes of each run reached.
    :param measure: Function of the goals of one run.
    :param n_resamples: Number of bootstrap samples.
    :param seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    goals = [np.asarray(run) for run in runs]
    means = [
        np.mean([measure(rng.choice(goals[run], len(goals[run]))) for run in rng.integers(len(goals), size=len(goals))])
        for _ in range(n_resamples)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def to_text(goals: ArrayLike) -> str:
    """Return goals as one character per episode, "-" for none; :func:`from_text` reads it."""
    return "".join("-" if goal < 0 else _MARKS[goal] for goal in np.asarray(goals).tolist())


def from_text(text: str) -> NDArray[np.int64]:
    """Return the goals that :func:`to_text` wrote, (n,)."""
    return np.array([_MARKS.find(mark) for mark in text], dtype=np.int64)
