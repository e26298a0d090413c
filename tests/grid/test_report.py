"""Aggregates agree with numbers computed by hand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ardae_rl.grid.comparison import improvement_table, interquartile_table, paired_table
from ardae_rl.grid.curves import Curve, check_same_steps, normalized_scores, read_curves
from ardae_rl.grid.figures import smoothed
from ardae_rl.grid.protocol import differences, read_protocols
from ardae_rl.grid.report import SUMMARIES, _aggregates, _comparisons, _table, at_half, final_return, report
from ardae_rl.grid.statistics import (
    enough_runs,
    interquartile_mean,
    mean_difference,
    permutation_p_value,
    probability_of_improvement,
    seed_difference,
    stratified_interval,
    verdict,
)
from ardae_rl.runs.files import write_json
from ardae_rl.runs.tables import write_csv


def curve(env: str, algo: str, seed: int, returns: list[float]) -> Curve:
    steps = np.arange(10.0, 10.0 * len(returns) + 1, 10.0, dtype=np.float64)
    return Curve(env, algo, seed, steps, np.array(returns), 60 * steps, 30 * steps, {})


def test_summaries() -> None:
    values = [summary(curve("A", "sac", 0, [1.0, 5.0, 3.0])) for summary in SUMMARIES.values()]
    assert values == [3, 5, 3, 1, 30, 15]


@pytest.mark.parametrize(("n", "expected"), [(1, 0.0), (2, 0.0), (3, 0.0), (4, 1.0), (5, 1.0), (10, 4.0)])
def test_return_at_half_of_the_steps(n: int, expected: float) -> None:
    """The return is the number of the evaluation."""
    assert at_half(curve("A", "sac", 0, list(map(float, range(n))))) == expected


def test_probability_of_improvement() -> None:
    """4.5 of 6 pairs in the first environment, 1 of 2 in the second; without spread, the interval is a point."""
    ours, baseline = [np.array([1.0, 3, 5]), np.array([2.0])], [np.array([0.0, 3]), np.array([1.0, 4])]
    result = probability_of_improvement(ours, baseline)
    assert result.estimate == pytest.approx((4.5 / 6 + 1 / 2) / 2)
    assert 0 <= result.low < result.estimate < result.high <= 1
    assert probability_of_improvement([np.ones(3)], [np.zeros(3)]) == (1, 1, 1)
    assert probability_of_improvement([np.ones(3)], [np.ones(3)]) == (0.5, 0.5, 0.5)


def test_interval_of_the_probability_of_improvement() -> None:
    """For equal distributions, its width is that of the Mann-Whitney statistic: a variance of about (n + m) / 12nm."""
    x, y = np.random.default_rng(0).standard_normal((2, 100))
    result = probability_of_improvement([x], [y], n_resamples=1000)
    assert result.high - result.low == pytest.approx(2 * 1.96 * np.sqrt(200 / 12 / 100**2), rel=0.15)


UP = np.arange(5.0)


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [
        # Of the 252 divisions, only the opposite one is as extreme
        (UP + 5, "b is better than a: it ends higher in 100 % of pairs of runs (p = 0.0079, 95 % bootstrap interval "),
        (UP - 5, "b is worse than a: it ends higher in only 0 % of pairs of runs (p = 0.0079, 95 % bootstrap "),
        (UP, "These runs do not show whether b is better than a: it ends higher in 50 % of pairs of runs (p = 1, "),
        (UP[:4] + 5, "b is better than a: it ends higher in 100 % of pairs of runs (p = 0.016)."),
    ],
)
def test_verdicts(ours: np.ndarray, sentence: str) -> None:
    assert verdict("b", "a", [ours], [UP]).startswith(sentence)


@pytest.mark.parametrize(
    ("n_runs", "enough"), [([(1, 1)], False), ([(3, 3)], False), ([(4, 4)], True), ([(3, 3), (3, 3)], True)]
)
def test_too_few_runs(n_runs: list[tuple[int, int]], enough: bool) -> None:
    """Of three against three runs, all of ours are the highest, or the lowest, by chance in 1 of 10 cases."""
    ours, theirs = ([np.arange(float(pair[k])) - 10 * k for pair in n_runs] for k in range(2))
    assert enough_runs(ours, theirs) == enough == (permutation_p_value(ours, theirs) <= 0.05)
    few = "There are too few runs to compare b with a: it ends higher in 100 % of pairs of runs."
    assert (verdict("b", "a", ours, theirs) == few) == (not enough)


def test_p_values_by_hand() -> None:
    """Of the 3 divisions of {1, 2}, {3} the rates are 0, 1/2 and 1; two environments have all pairs of these."""
    one = ([np.array([1.0, 2.0])], [np.array([3.0])])
    assert permutation_p_value(*one) == pytest.approx(2 / 3)
    assert permutation_p_value(one[0] * 2, one[1] * 2) == pytest.approx(2 / 9)
    assert permutation_p_value([np.ones(3)], [np.ones(3)]) == 1
    assert permutation_p_value(*one, n_resamples=2) == pytest.approx(2 / 3, abs=1 / 3)


def test_random_divisions_have_the_p_value_of_all() -> None:
    """Where these can be counted; the shares of 500 divisions have a standard error of at most 0.022."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, 1.0):
        ours, theirs = [rng.standard_normal(6) + shift], [rng.standard_normal(6)]
        exact, approximate = (permutation_p_value(ours, theirs, n_resamples=n) for n in (1000, 500))
        assert 500 < 924 <= 1000 and approximate == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize(("n_envs", "n_seeds"), [(1, 4), (2, 3), (2, 5)])
def test_false_verdicts_are_rare(n_envs: int, n_seeds: int) -> None:
    """Of two equal algorithms, at most 5 % of the verdicts may prefer one; 400 tests tell this up to 2.2 %."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((400, 2, n_envs, n_seeds))
    p_values = np.array([permutation_p_value(list(x), list(y), n_resamples=500) for x, y in scores])
    assert (p_values <= 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert (p_values <= 0.5).mean() > 0.3, "nor does the test see nothing"


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_intervals_of_differences_cover_them(n_seeds: int) -> None:
    """In 95 % of 2000 cases, up to 1 %, even with two seeds."""
    rng = np.random.default_rng(0)
    intervals = [mean_difference(*rng.standard_normal((2, n_seeds))) for _ in range(2000)]
    assert np.mean([low < 0 < high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.01)


def test_comparisons_hold_the_critics_fixed() -> None:
    """Each algorithm is compared with SAC, and with SAC that has its critics, where both were run."""
    scores = {name: {"A": np.arange(0.0, 1.0, 0.2)} for name in ("sac", "sac-crossq", "sac_ardae-distance-crossq")}
    lines = _comparisons(scores | {"tqc": {"B": np.ones(1)}}).splitlines()[2:]
    pairs = [re.findall(r"(sac\S*) is better than (sac[\w-]*)", line) for line in lines]
    assert pairs == [
        [("sac-crossq", "sac")],
        [("sac_ardae-distance-crossq", "sac")],
        [("sac_ardae-distance-crossq", "sac-crossq")],
    ]


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


def test_curves_of_an_environment_end_at_the_same_step() -> None:
    short, long = curve("A", "sac", 0, [1.0]), curve("B", "sac", 0, [1.0, 2.0])
    check_same_steps([short, long])
    with pytest.raises(ValueError, match=r"runs of A were evaluated, .* at different steps: 10, 20$"):
        check_same_steps([short, long, long._replace(env="A", seed=1)])


def test_curves_of_an_environment_have_the_same_steps() -> None:
    """The mean over training depends on where the evaluations are."""
    often, seldom = curve("A", "sac", 0, [1.0, 2.0, 3.0, 4.0]), curve("A", "tqc", 0, [1.0, 2.0])
    message = r"evaluated at the same steps, got for A 4 evaluations \(10, 20, ...\) and 2 evaluations \(20, 40, ...\)$"
    with pytest.raises(ValueError, match=message):
        check_same_steps([often, seldom._replace(steps=2 * seldom.steps)])


def finished_run(folder: Path, algo: str, **changes: Any) -> None:
    settings = {"env": "A", "algo": algo, "seed": 0, "eval_episodes": 10} | changes
    arguments = {"learning_starts": 100, "buffer_size": 1000} | changes.get("arguments", {})
    write_json(folder / "A" / f"{algo}_0" / "finished.json", settings | {"arguments": arguments})
    row = {"step": 10, "mean_return": 1.0, "wall_seconds": 1.0, "torch": "2.8", "sb3": "2.9"}
    for name in ("evaluations.csv", "metrics.csv"):
        write_csv(folder / "A" / f"{algo}_0" / name, [row])


def test_a_report_says_how_its_runs_differ(tmp_path: Path) -> None:
    out, before = tmp_path / "out", tmp_path / "before"
    finished_run(out, "sac")
    finished_run(out, "tqc")
    finished_run(before, "sac", arguments={"learning_starts": 50})
    assert differences(read_protocols({"": out})) == []
    write_json(out / "A" / "sac_0" / "environment.json", {"engine": {"mujoco": "3.2"}})
    assert differences(read_protocols({"": out, " (before)": before})) == [
        "A, runs that differ in learning_starts (100: sac, tqc; 50: sac (before))",
        "A, runs that differ in mujoco (3.2: sac; unknown: sac (before), tqc)",
    ]
    report(out, {"before": before})
    assert "\n- A, runs that differ in learning_starts (100: sac" in (out / "report.md").read_text()


def test_different_numbers_of_episodes_are_not_compared(tmp_path: Path) -> None:
    finished_run(tmp_path / "out", "sac")
    finished_run(tmp_path / "before", "sac", eval_episodes=5)
    with pytest.raises(ValueError, match="with the same number of episodes, got for A 5 and 10"):
        report(tmp_path / "out", {"before": tmp_path / "before"})


def test_mean_difference() -> None:
    """Student's t with one degree of freedom is 12.7062 at 97.5 %; one pair says nothing about the spread."""
    result = mean_difference(np.array([3.0, 5.0]), np.array([1.0, 1.0]))
    assert result == (3, pytest.approx(3 - 12.7062), pytest.approx(3 + 12.7062))
    assert mean_difference(np.array([3.0]), np.array([1.0])) == (2, -np.inf, np.inf)


def test_difference_over_the_seeds_of_both() -> None:
    ours, baseline = {"2": 5.0, "0": 3.0, "1": 9.0}, {"0": 1.0, "3": 7.0, "2": 1.0}
    assert seed_difference(ours, baseline) == mean_difference(np.array([3.0, 5.0]), np.array([1.0, 1.0]))
    assert np.isnan(seed_difference(ours, {"3": 7.0})).all()


def test_comparisons_of_all_pairs() -> None:
    """Differences are between runs of the same seed; a seed that one algorithm lacks is left out."""
    curves = [curve("A", "sac", seed, [0.0, value]) for seed, value in enumerate((1.0, 2.0, 50.0))]
    curves += [curve("A", "tqc", seed, [0.0, value]) for seed, value in enumerate((3.0, 6.0))]
    assert paired_table(curves, final_return) == [["difference", "A"], ["sac - tqc", "-3.0 [-15.7, 9.7], n = 2"]]
    (_, *algos), sac, tqc = improvement_table(curves, final_return)
    assert (algos, sac[1], tqc[2]) == (["sac", "tqc"], "", "")
    assert (sac[2], tqc[1]) == ("0.33", "0.67")
    assert interquartile_table(curves, final_return)[2] == ["tqc", "4.5"]


def test_bootstrap_intervals_need_five_seeds() -> None:
    """With fewer they are far too narrow: there are none."""
    curves = [curve("A", algo, seed, [float(seed)]) for algo in ("sac", "tqc") for seed in range(5)]
    for few in (False, True):
        runs = curves[:-1] if few else curves
        assert ("[" in interquartile_table(runs, final_return)[2][1]) != few
        assert ("[" in improvement_table(runs, final_return)[1][2]) != few
        assert (" to " in _aggregates(normalized_scores(runs)).splitlines()[-1]) != few


def test_the_spread_is_that_of_a_sample() -> None:
    """Means and standard deviations of 1, 3 and of a single run."""
    curves = [curve("A", "sac", 0, [1.0]), curve("A", "sac", 1, [3.0]), curve("A", "tqc", 0, [2.0])]
    assert _table(curves, final_return).splitlines()[2:] == ["| sac | 2.0 ± 1.4 |", "| tqc | 2.0 |"]
