"""Learning curves: what is averaged, and which runs are grouped."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ardae_rl.plotting import aggregate, evaluations_curve, group_runs, learning_curves, monitor_curve

HEADER = '#{"t_start": 0.0, "env_id": "X-v0"}\nr,l,t\n'


def write_monitor(run: Path, name: str, rows: list[tuple[float, int, float]]) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / name).write_text(HEADER + "".join(f"{r},{length},{t}\n" for r, length, t in rows))


def test_monitor_curve_merges_environments_and_averages(tmp_path: Path) -> None:
    write_monitor(tmp_path, "0.monitor.csv", [(4.0, 10, 1.0), (1.0, 10, 3.0)])
    write_monitor(tmp_path, "1.monitor.csv", [(2.0, 5, 2.0)])
    steps, returns = monitor_curve(tmp_path, window=2)
    np.testing.assert_allclose(steps, [10, 15, 25])
    np.testing.assert_allclose(returns, [4.0, 3.0, 1.5])


def test_an_incomplete_last_line_is_left_out(tmp_path: Path) -> None:
    """A killed process leaves such a line."""
    write_monitor(tmp_path, "0.monitor.csv", [(4.0, 10, 1.0), (1.0, 10, 3.0)])
    with (tmp_path / "0.monitor.csv").open("a") as file:
        file.write("-12.5,2")
    assert monitor_curve(tmp_path)[0].tolist() == [10, 20]


def test_evaluations_curve(tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluations.npz", timesteps=[100, 200], results=[[1.0, 3.0], [5.0, 5.0]])
    steps, returns = evaluations_curve(tmp_path)
    np.testing.assert_allclose(steps, [100, 200])
    np.testing.assert_allclose(returns, [2.0, 5.0])


def test_mean_and_deviation_over_the_common_stretch() -> None:
    low = (np.array([0.0, 100.0]), np.array([0.0, 100.0]))
    high = (np.array([20.0, 80.0]), np.array([40.0, 100.0]))
    steps, mean, deviation = aggregate([low, high], n_points=2)
    np.testing.assert_allclose(steps, [20, 80])
    np.testing.assert_allclose(mean, [30, 90])
    np.testing.assert_allclose(deviation, [10, 10])


def test_seeds_are_grouped(tmp_path: Path) -> None:
    names = ["sac/Hopper-v5_1", "sac/Hopper-v5_2", "ppo/Hopper-v5_1", "demo"]
    for number, name in enumerate(names):
        write_monitor(tmp_path / name, "0.monitor.csv", [(number, 10, 1.0), (number, 10, 2.0)])
    runs = [tmp_path / name for name in names]
    assert {label: len(members) for label, members in group_runs(runs).items()} == {
        "sac Hopper-v5": 2,
        "ppo Hopper-v5": 1,
        "demo": 1,
    }
    (axes,) = learning_curves(runs).axes
    assert [line.get_label() for line in axes.lines] == [
        "sac Hopper-v5 (2 runs)",
        "ppo Hopper-v5 (1 run)",
        "demo (1 run)",
    ]
    assert len(axes.collections) == 1  # a band only where there is more than one run
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_ydata()), 0.5)


@pytest.mark.parametrize("row", ["a,10,1.0", "1.0,10"])
def test_a_damaged_monitor_file_is_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "0.monitor.csv").write_text(f"{HEADER}{row}\n")
    with pytest.raises(ValueError, match=r"`runs` must have readable records, got .*0\.monitor\.csv"):
        monitor_curve(tmp_path)


def test_damaged_evaluations_are_named(tmp_path: Path) -> None:
    file = tmp_path / "evaluations.npz"
    file.write_text("none")
    with pytest.raises(ValueError, match=r"`runs` must have readable records, got .*evaluations\.npz"):
        evaluations_curve(tmp_path)
    np.savez(file, timesteps=[100])
    with pytest.raises(ValueError, match=r"`runs` must have readable records, got .*evaluations\.npz"):
        evaluations_curve(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "tensorboard"}, "`source` must be one of 'monitor', 'evaluations', got 'tensorboard'"),
        ({"window": 0}, "`window` must be >= 1, got 0"),
        ({"runs": []}, "`runs` must not be empty"),
        ({}, "which has no finished episode"),
        ({"source": "evaluations"}, "which has no evaluations.npz"),
        ({"runs": [Path("missing")]}, "must be folders of training runs"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    write_monitor(tmp_path, "0.monitor.csv", [])
    with pytest.raises(ValueError, match=re.escape(message)):
        learning_curves(**{"runs": [tmp_path], **arguments})
