"""The summary of the four goals, and the seed that its plot shows."""

import math
from pathlib import Path

import pytest

from experiments.figure import Result
from experiments.multigoal import _median, summary


def row_of(algo: str, seed: int, distance: float) -> dict[str, str]:
    values = {"algo": algo, "seed": seed, "tv_origin": distance, "entropy": 1.0, "mean_return": -150.0}
    return {name: str(value) for name, value in (values | {"steps": 9, "ent_coef": 5.0}).items()}


def test_differences_are_paired_by_seed() -> None:
    """Differences of 0.1, 0.2 and 0.3 have the mean 0.2 and the margin 4.303 * 0.1 / √3, in any order of the rows."""
    sac = [row_of("sac", seed, distance) for seed, distance in ((2, 0.9), (0, 0.3), (1, 0.6))]
    ours = [row_of("sac_ardae", seed, distance) for seed, distance in ((0, 0.2), (1, 0.4), (2, 0.6), (3, 0.0))]
    baseline, line = summary([*sac, *ours])
    assert (baseline["n_seeds"], line["n_seeds"], line["tv_origin"]) == (3, 4, 0.3)
    assert line["closer_estimate"] == pytest.approx(0.2)
    margin = 4.303 * 0.1 / math.sqrt(3)
    assert (line["closer_low"], line["closer_high"]) == pytest.approx((0.2 - margin, 0.2 + margin), abs=1e-3)
    assert math.isnan(baseline["closer_estimate"]) and math.isnan(summary(ours)[0]["closer_low"])


def test_the_plot_shows_the_median_seed() -> None:
    """By the distance as a number: as texts, 1e-05 would be the largest."""
    rows = [row_of("sac_ardae", seed, distance) for seed, distance in enumerate((0.3, 0.1, 1e-5))]
    results = [Result({"algo": row["algo"]}, Path(row["seed"]), [row]) for row in (*rows, row_of("sac", 7, 0.2))]
    assert _median("sac_ardae", results).folder == Path("1")
    assert _median("sac", results).folder == Path("7")
