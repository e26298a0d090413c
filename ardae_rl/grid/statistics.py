"""Statistics of a few runs per algorithm (Agarwal et al. 2021, https://arxiv.org/abs/2108.13264), with intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ardae_rl.grid.curves import Array

N_RESAMPLES = 10_000


class Interval(NamedTuple):
    """An estimate with its 95 % percentile bootstrap interval."""

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
    :param baseline: The same of the baseline, in the same environments.
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


def mean_difference(ours: Array, baseline: Array, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Interval:
    """Return the mean of differences between pairs of runs, such as those of the same seed, both of shape (pairs,)."""
    differences = ours - baseline
    means = _resampled(differences, n_resamples, np.random.default_rng(seed)).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(differences.mean()), float(low), float(high))


def enough_runs(ours: Sequence[Array], baseline: Sequence[Array]) -> bool:
    """Return whether there are enough runs for any outcome to be significant, in a test at 2.5 % on each side.

    Even if all of ours are higher, this happens by chance with a probability of 1 in the number of ways to divide the
    runs between the two, here by environment. The bootstrap does not know this: between two single runs, it finds an
    interval of width zero.

    :param ours: For each environment, the scores of the algorithm's runs, of shape (seeds,).
    :param baseline: The same of the baseline, in the same environments.
    """
    return math.prod(math.comb(len(x) + len(y), len(x)) for x, y in zip(ours, baseline, strict=True)) >= 40


def verdict(algo: str, baseline: str, improvement: Interval, enough: bool = True) -> str:
    """Return a sentence that says what the interval of the probability of improvement allows to conclude.

    :param algo: Name of the algorithm.
    :param baseline: Name of the baseline.
    :param improvement: Probability of improvement.
    :param enough: Whether there are enough runs (:func:`enough_runs`).
    """
    if not enough:
        rate = f"{100 * improvement.estimate:.0f} % of pairs of runs"
        return f"There are too few runs to compare {algo} with {baseline}: it ends higher in {rate}."
    rate = f"{100 * improvement.estimate:.0f} % of pairs of runs"
    interval = f"95 % interval {100 * improvement.low:.0f} to {100 * improvement.high:.0f} %"
    if improvement.low > 0.5:
        return f"{algo} is better than {baseline}: it ends higher in {rate} ({interval})."
    if improvement.high < 0.5:
        return f"{algo} is worse than {baseline}: it ends higher in only {rate} ({interval})."
    return f"These runs do not tell whether {algo} is better than {baseline}: it ends higher in {rate} ({interval})."


def _resampled(values: Array, n_resamples: int, rng: np.random.Generator) -> Array:
    """Return bootstrap samples, of shape (n_resamples, seeds)."""
    return values[rng.integers(len(values), size=(n_resamples, len(values)))]


def _win_rate(x: Array, y: Array) -> Array:
    """Return the rates of pairs with x > y, shape (samples,). x has shape (samples, n), and y (samples, m)."""
    difference = x[:, :, None] - y[:, None, :]
    rate: Array = ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))
    return rate
