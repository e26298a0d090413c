"""Tables that compare each algorithm of a benchmark with every other."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from ardae_rl.grid.curves import Array, Curve, names
from ardae_rl.grid.statistics import (
    enough_seeds,
    interquartile_mean,
    probability_of_improvement,
    seed_difference,
    stratified_interval,
)

Summary = Callable[[Curve], float]
Cells = list[list[str]]


def interquartile_table(curves: Sequence[Curve], summary: Summary) -> Cells:
    """Return interquartile means over seeds by algorithm and environment, with intervals if there are enough seeds.

    :param curves: The runs.
    :param summary: The quantity to compare, such as the final return.
    """
    envs, algos = names(curves)
    table = [["algorithm", *envs]]
    for algo in algos:
        row = [algo]
        for env in envs:
            values = np.array(list(_by_seed(curves, env, algo, summary).values()))
            row.append(_interquartile_cell(values) if len(values) else "")
        table.append(row)
    return table


def improvement_table(curves: Sequence[Curve], summary: Summary) -> Cells:
    """Return the probability that the row's algorithm beats the column's, over the environments that both have."""
    envs, algos = names(curves)
    table = [["better", *algos]]
    for algo in algos:
        row = [algo]
        for other in algos:
            pairs = [[_by_seed(curves, env, name, summary) for name in (algo, other)] for env in envs]
            pairs = [pair for pair in pairs if all(pair)]
            row.append("" if algo == other or not pairs else _improvement_cell(pairs))
        table.append(row)
    return table


def paired_table(curves: Sequence[Curve], summary: Summary) -> Cells:
    """Return mean differences between two algorithms over the seeds that both have, by environment."""
    envs, algos = names(curves)
    table = [["difference", *envs]]
    for first, second in combinations(algos, 2):
        row = [f"{first} - {second}"]
        for env in envs:
            ours, theirs = (_by_seed(curves, env, algo, summary) for algo in (first, second))
            row.append(_difference_cell(ours, theirs))
        table.append(row)
    return table


def _by_seed(curves: Sequence[Curve], env: str, algo: str, summary: Summary) -> dict[int, float]:
    return {c.seed: summary(c) for c in curves if (c.env, c.algo) == (env, algo)}


def _interquartile_cell(values: Array) -> str:
    mean = f"{interquartile_mean(values):.1f}"
    if not enough_seeds([values]):
        return mean
    low, high = stratified_interval([values])
    return f"{mean} [{low:.1f}, {high:.1f}]"


def _improvement_cell(pairs: Sequence[Sequence[dict[int, float]]]) -> str:
    ours, theirs = ([np.array(list(pair[k].values())) for pair in pairs] for k in range(2))
    result = probability_of_improvement(ours, theirs)
    if not (enough_seeds(ours) and enough_seeds(theirs)):
        return f"{result.estimate:.2f}"
    return f"{result.estimate:.2f} [{result.low:.2f}, {result.high:.2f}]"


def _difference_cell(ours: dict[int, float], theirs: dict[int, float]) -> str:
    result, n_seeds = seed_difference(ours, theirs), len(ours.keys() & theirs.keys())
    if not n_seeds:
        return ""
    interval = f" [{result.low:.1f}, {result.high:.1f}]" if n_seeds > 1 else ""
    return f"{result.estimate:.1f}{interval}, n = {n_seeds}"
