"""Statistics of a few runs per algorithm (Agarwal et al. 2021, https://arxiv.org/abs/2108.13264), with intervals.

Percentile bootstrap intervals are too narrow for a few runs. So they are left out with fewer than :data:`MIN_SEEDS`
seeds, and conclusions do not rest on them.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

import numpy as np

from ardae_rl.grid.curves import Array

N_RESAMPLES = 10_000
MIN_SEEDS = 5  # for a bootstrap interval
SIGNIFICANCE = 0.05
_Seed = TypeVar("_Seed", int, str)


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


def interquartile_mean(values: Array) -> Array:
    """Return the mean of the middle half over the last axis."""
    from scipy.stats import trim_mean

    means: Array = trim_mean(values, 0.25, axis=-1)
    return means


def stratified_interval(scores: Sequence[Array], n_resamples: int = N_RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the interquartile mean, resampling seeds by environment.

    It needs at least :data:`MIN_SEEDS` seeds in each environment to be of use.

    (rliable has this function, too, but needs a version of arch that cannot be imported together with pandas 3.)

    :param scores: For each environment, the scores of its runs, of shape (seeds,).
    :param n_resamples: Number of bootstrap samples.
    :param seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    resampled = [_resampled(values, n_resamples, rng) for values in scores]
    low, high = np.quantile(interquartile_mean(np.concatenate(resampled, axis=1)), [0.025, 0.975])
    return float(low), float(high)


def probability_of_improvement(
    ours: Sequence[Array], baseline: Sequence[Array], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """Return the probability that a run scores higher than one of the baseline, averaged over environments.

    A tie counts half. The bootstrap resamples the seeds of both algorithms in each environment.

    :param ours: For each environment, the scores of the algorithm's runs, of shape (seeds,).
    :param baseline: The baseline's scores in the same environments.
    :param n_resamples: Number of bootstrap samples.
    :param seed: Seed of the resampling.
    """
    rng = np.random.default_rng(seed)
    estimate = np.mean([_win_rate(x[None], y[None]) for x, y in zip(ours, baseline, strict=True)])
    resampled = np.mean(
        [
            _win_rate(_resampled(x, n_resamples, rng), _resampled(y, n_resamples, rng))
            for x, y in zip(ours, baseline, strict=True)
        ],
        axis=0,
    )
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(float(estimate), float(low), float(high))


def permutation_p_value(
    ours: Sequence[Array], baseline: Sequence[Array], n_resamples: int = N_RESAMPLES, seed: int = 0
) -> float:
    """Return the two-sided p-value of a permutation test of the probability of improvement.

    The null hypothesis is that both algorithms have the same distribution. The runs of each environment are reassigned
    to the two algorithms in all possible ways, or in ``n_resamples`` random ways if there are more than that.

    :param ours: For each environment, the scores of the algorithm's runs, of shape (seeds,).
    :param baseline: The baseline's scores in the same environments.
    :param n_resamples: Maximum number of reassignments.
    :param seed: Seed of the random reassignments.
    """
    pairs = list(zip(ours, baseline, strict=True))
    observed = np.mean([_win_rate(x[None], y[None]) for x, y in pairs])
    exact = _n_divisions(ours, baseline) <= n_resamples
    if exact:
        rates: Array = np.zeros(1)
        for x, y in pairs:
            rates = (rates[:, None] + _win_rate(*_divided(x, y)) / len(pairs)).ravel()
    else:
        rng = np.random.default_rng(seed)
        rates = np.mean([_win_rate(*_shuffled(x, y, n_resamples, rng)) for x, y in pairs], axis=0)
    # Rates that are equally far from one half may differ by rounding errors
    n_as_extreme = int((np.abs(rates - 0.5) >= abs(observed - 0.5) - 1e-9).sum())
    # The observed division is one of all possible ones, but not one of the random ones (Phipson & Smyth 2010)
    return n_as_extreme / len(rates) if exact else (n_as_extreme + 1) / (len(rates) + 1)


def mean_difference(ours: Array, baseline: Array) -> Interval:
    """Return the mean of differences between pairs of runs, such as those of the same seed, with Student's t interval.

    The interval is exact for normally distributed differences, and infinite for a single pair.

    :param ours: Scores of the algorithm's runs, of shape (pairs,).
    :param baseline: Scores of the baseline's runs, of shape (pairs,).
    """
    from scipy.stats import t

    differences, n = ours - baseline, len(ours)
    mean = float(differences.mean())
    if n == 1:
        return Interval(mean, -math.inf, math.inf)
    margin = float(t.ppf(0.975, n - 1) * differences.std(ddof=1) / math.sqrt(n))
    return Interval(mean, mean - margin, mean + margin)


def seed_difference(ours: Mapping[_Seed, float], baseline: Mapping[_Seed, float]) -> Interval:
    """Return :func:`mean_difference` over the seeds that both have; not a number if they share none.

    Runs with the same seed start from the same states, and are evaluated from the same states.

    :param ours: The algorithm's scores by seed.
    :param baseline: The baseline's scores by seed.
    """
    seeds = [seed for seed in ours if seed in baseline]
    if not seeds:
        return Interval(math.nan, math.nan, math.nan)
    return mean_difference(np.array([ours[seed] for seed in seeds]), np.array([baseline[seed] for seed in seeds]))


def enough_runs(ours: Sequence[Array], baseline: Sequence[Array]) -> bool:
    """Return whether there are enough runs for any outcome to be significant.

    If all of our runs are higher, only one other division is as extreme: the one in which all of them are lower.

    :param ours: For each environment, the scores of the algorithm's runs, of shape (seeds,).
    :param baseline: The baseline's scores in the same environments.
    """
    return 2 / _n_divisions(ours, baseline) <= SIGNIFICANCE


def verdict(algo: str, baseline: str, ours: Sequence[Array], theirs: Sequence[Array]) -> str:
    """Return a sentence with the conclusion that the runs support, by a permutation test at the 5 % level.

    :param algo: Name of the algorithm.
    :param baseline: Name of the baseline.
    :param ours: For each environment, the scores of the algorithm's runs, of shape (seeds,).
    :param theirs: The baseline's scores in the same environments.
    """
    improvement = probability_of_improvement(ours, theirs)
    rate = f"{100 * improvement.estimate:.0f} % of pairs of runs"
    if not enough_runs(ours, theirs):
        return f"There are too few runs to compare {algo} with {baseline}: it ends higher in {rate}."
    p_value = permutation_p_value(ours, theirs)
    evidence = f"p = {p_value:.2g}"
    if enough_seeds(ours) and enough_seeds(theirs):
        evidence += f", 95 % bootstrap interval {100 * improvement.low:.0f} to {100 * improvement.high:.0f} %"
    if p_value > SIGNIFICANCE:
        conclusion = f"These runs do not show whether {algo} is better than {baseline}: it ends higher in"
    elif improvement.estimate > 0.5:
        conclusion = f"{algo} is better than {baseline}: it ends higher in"
    else:
        conclusion = f"{algo} is worse than {baseline}: it ends higher in only"
    return f"{conclusion} {rate} ({evidence})."


def enough_seeds(scores: Sequence[Array]) -> bool:
    """Return whether every environment has enough seeds for a bootstrap interval.

    :param scores: For each environment, the scores of its runs, of shape (seeds,).
    """
    return min(map(len, scores)) >= MIN_SEEDS


def _n_divisions(ours: Sequence[Array], baseline: Sequence[Array]) -> int:
    """Return the number of ways to divide the runs of each environment between the two algorithms."""
    return math.prod(math.comb(len(x) + len(y), len(x)) for x, y in zip(ours, baseline, strict=True))


def _divided(x: Array, y: Array) -> tuple[Array, Array]:
    """Return all ways to redivide the runs, of shapes (divisions, len(x)) and (divisions, len(y))."""
    both, everything = np.concatenate([x, y]), np.arange(len(x) + len(y))
    first = np.array(list(combinations(everything, len(x))))
    second = np.array([np.setdiff1d(everything, chosen) for chosen in first])
    return both[first], both[second]


def _shuffled(x: Array, y: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return random ways to redivide the runs, of shapes (n, len(x)) and (n, len(y))."""
    both = rng.permuted(np.tile(np.concatenate([x, y]), (n, 1)), axis=1)
    return both[:, : len(x)], both[:, len(x) :]


def _resampled(values: Array, n_resamples: int, rng: np.random.Generator) -> Array:
    """Return bootstrap samples, of shape (n_resamples, seeds)."""
    return values[rng.integers(len(values), size=(n_resamples, len(values)))]


def _win_rate(x: Array, y: Array) -> Array:
    """Return the rates of pairs with x > y, shape (samples,). x has shape (samples, n), and y (samples, m)."""
    difference = x[:, :, None] - y[:, None, :]
    rate: Array = ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))
    return rate
