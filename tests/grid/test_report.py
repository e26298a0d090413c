"""Aggregates agree with numbers computed by hand."""

from pathlib import Path

import numpy as np
import pytest

from ardae_rl.grid.curves import Curve, normalized_scores, read_curves
from ardae_rl.grid.figures import smoothed
from ardae_rl.grid.report import SUMMARIES, interquartile_mean, stratified_interval


def curve(env: str, algo: str, seed: int, returns: list[float]) -> Curve:
    steps = np.arange(10.0, 10.0 * len(returns) + 1, 10.0, dtype=np.float64)
    return Curve(env, algo, seed, steps, np.array(returns), 60 * steps, {})


def test_summaries() -> None:
    values = [summary(curve("A", "sac", 0, [1.0, 5.0, 3.0])) for summary in SUMMARIES.values()]
    assert values == [3, 5, 3, 30]


def test_normalized_scores() -> None:
    """0 is the worst evaluation in an environment, 1 the best, by any algorithm."""
    curves = [curve("A", "sac", 0, [-10, 0]), curve("A", "tqc", 0, [0, 10]), curve("B", "sac", 0, [100, 300])]
    scores = normalized_scores([*curves, curve("A", "sac", 1, [-10, -5])])
    np.testing.assert_allclose(scores["sac"]["A"], [0.5, 0.25])
    np.testing.assert_allclose(scores["sac"]["B"], [1])
    np.testing.assert_allclose(scores["tqc"]["A"], [1])
    assert "B" not in scores["tqc"]


def test_interquartile_mean() -> None:
    assert interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx(3.5)


def test_stratified_interval() -> None:
    """Seeds are resampled within environments: without spread within them, the interval is a point.

    With spread, its width is that of the normal approximation: the interquartile mean has 1.2 times the variance of
    the mean.
    """
    assert stratified_interval([np.zeros(4), np.ones(4)]) == (0.5, 0.5)
    values = np.random.default_rng(0).standard_normal(400)
    low, high = stratified_interval([values[:200], values[200:]], n_resamples=2000)
    assert low < interquartile_mean(values) < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(1.2 / 400), rel=0.15)


def test_smoothing() -> None:
    """A parabola is unchanged, and so are short curves."""
    x = np.arange(12.0)
    np.testing.assert_allclose(smoothed(x**2), x**2, atol=1e-10)
    assert smoothed(np.array([1.0, 5, 2])).tolist() == [1, 5, 2]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have finished runs"):
        read_curves(tmp_path)
