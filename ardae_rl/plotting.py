"""Learning curves: mean and standard deviation over runs, from Monitor files or RL Zoo's evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ardae_rl.common.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, returns
SOURCES = ("monitor", "evaluations")


def monitor_curve(run: Path, window: int = 20) -> Curve:
    """Training return, averaged over ``window`` episodes, against environment steps; several Monitors are merged.

    :raises ValueError: when the folder has no finished episode
    """
    # Two header lines, then one row an episode: return, length, seconds since the start
    lines = [line for file in sorted(run.glob("*monitor.csv")) for line in file.read_text().splitlines()[2:]]
    if not lines:
        raise ValueError(f"run: {run} has no Monitor file with a finished episode; accepted: a training run's folder")
    episodes = np.array([line.split(",")[:3] for line in lines], dtype=np.float64)
    episodes = episodes[np.argsort(episodes[:, 2], kind="stable")]
    totals = np.cumsum(np.concatenate([[0.0], episodes[:, 0]]))
    last = np.arange(1, len(episodes) + 1)
    first = np.maximum(last - window, 0)  # the first averages have fewer episodes behind them
    return np.cumsum(episodes[:, 1]), (totals[last] - totals[first]) / (last - first)


def evaluations_curve(run: Path) -> Curve:
    """Mean evaluation return against environment steps, from RL Zoo's ``evaluations.npz``.

    :raises ValueError: when the folder has none
    """
    file = run / "evaluations.npz"
    if not file.is_file():
        raise ValueError(f"run: {run} has no evaluations.npz; accepted: a run trained with --eval-freq above 0")
    data = np.load(file)
    return data["timesteps"].astype(np.float64), data["results"].mean(axis=1)


def group_runs(runs: list[Path]) -> dict[str, list[Path]]:
    """Runs of one algorithm on one environment together: RL Zoo's ``<algo>/<env>_<number>``, seeds differing.

    :raises ValueError: for a path that is no folder
    """
    groups: dict[str, list[Path]] = {}
    for run in (path.resolve() for path in runs):
        if not run.is_dir():
            raise ValueError(f"run: {run} is no folder; accepted: the folder of a training run")
        env_name, _, number = run.name.rpartition("_")
        label = f"{run.parent.name} {env_name}" if number.isdigit() else run.name
        groups.setdefault(label, []).append(run)
    return groups


def learning_curves(runs: list[Path], source: str = "monitor", window: int = 20) -> Figure:
    """A figure with one line a group of runs, and a band of one standard deviation when it has two or more.

    :param window: episodes that a Monitor's curve is averaged over
    :raises ValueError: for an unknown source, no runs, a window below 1, or a run without data
    """
    if source not in SOURCES:
        raise ValueError(f"--source: got {source!r}; accepted: {', '.join(SOURCES)}")
    if not runs:
        raise ValueError("run: got none; accepted: one or more run folders")
    if window < 1:
        raise ValueError(f"--window: got {window}; accepted: 1 or more")
    require("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for label, members in group_runs(runs).items():
        curves = [monitor_curve(run, window) if source == "monitor" else evaluations_curve(run) for run in members]
        steps, mean, deviation = aggregate(curves)
        (line,) = axes.plot(steps, mean, label=f"{label} ({len(curves)} run{'s'[: len(curves) > 1]})")
        if len(curves) > 1:
            axes.fill_between(steps, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.2, lw=0)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(f"return (mean of {window} episodes)" if source == "monitor" else "evaluation return")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def aggregate(curves: list[Curve], n_points: int = 200) -> tuple[NDArray[np.float64], ...]:
    """Steps, mean and standard deviation of several curves on the stretch that all of them cover."""
    if len(curves) == 1:
        steps, values = curves[0]
        return steps, values, np.zeros_like(values)
    start, stop = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(start, max(start, stop), n_points)
    values = np.stack([np.interp(grid, steps, returns) for steps, returns in curves])
    return grid, values.mean(axis=0), values.std(axis=0)
