"""Learning curves: mean and standard deviation over runs, from Monitor files or RL Zoo's evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]  # steps, returns
SOURCES = ("monitor", "evaluations")


def monitor_curve(run: Path, window: int = 20) -> Curve:
    """Return environment steps and the training return, averaged over the last ``window`` episodes.

    :param run: Folder with one or more Monitor files, which are merged.
    :param window: Number of episodes to average over.
    :raises ValueError: If the folder has no finished episode, or a damaged file.
    """
    rows = [row for file in sorted(run.glob("*monitor.csv")) for row in _episodes(file)]
    if not rows:
        raise ValueError(f"`runs` must be folders of training runs, got {run}, which has no finished episode")
    episodes = np.array(rows)
    episodes = episodes[np.argsort(episodes[:, 2], kind="stable")]
    totals = np.cumsum(np.concatenate([[0.0], episodes[:, 0]]))
    last = np.arange(1, len(episodes) + 1)
    first = np.maximum(last - window, 0)  # the first averages are over fewer episodes
    return np.cumsum(episodes[:, 1]), (totals[last] - totals[first]) / (last - first)


def _episodes(monitor: Path) -> list[tuple[float, float, float]]:
    """Return one row per episode: return, length, seconds since the start. An incomplete last line is left out."""
    with _readable(monitor):
        text = monitor.read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()[2:]  # after two lines of header
        columns = (line.split(",") for line in lines)
        return [(float(total), float(length), float(seconds)) for total, length, seconds, *_ in columns]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turn errors of reading a damaged file into one that names it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, EOFError, BadZipFile) as error:
        raise ValueError(f"`runs` must have readable records, got {file}") from error


def evaluations_curve(run: Path) -> Curve:
    """Return environment steps and the mean evaluation return, from RL Zoo's ``evaluations.npz``.

    :param run: Folder of the run.
    :raises ValueError: If the folder has no such file, or a damaged one.
    """
    file = run / "evaluations.npz"
    if not file.is_file():
        raise ValueError(f"`runs` must have been evaluated during training, got {run}, which has no evaluations.npz")
    with _readable(file), np.load(file) as data:
        return data["timesteps"].astype(np.float64), data["results"].mean(axis=1)


def group_runs(runs: list[Path]) -> dict[str, list[Path]]:
    """Group runs of the same algorithm and environment, by RL Zoo's layout ``<algo>/<env>_<number>``.

    :param runs: Folders of the runs.
    :raises ValueError: For a path that is not a folder.
    """
    groups: dict[str, list[Path]] = {}
    for run in (path.resolve() for path in runs):
        if not run.is_dir():
            raise ValueError(f"`runs` must be folders of training runs, got {run}")
        env_name, _, number = run.name.rpartition("_")
        label = f"{run.parent.name} {env_name}" if number.isdigit() else run.name
        groups.setdefault(label, []).append(run)
    return groups


def learning_curves(runs: list[Path], source: str = "monitor", window: int = 20) -> Figure:
    """Draw one line per group of runs, with a band of one standard deviation if the group has several runs.

    :param runs: Folders of the runs, grouped as by :func:`group_runs`.
    :param source: "monitor" for returns during training, "evaluations" for RL Zoo's evaluations.
    :param window: Number of episodes that a Monitor's curve is averaged over.
    :raises ValueError: For an unknown source, no runs, a window below 1, or a run without data.
    """
    check_choice("source", source, SOURCES)
    check_count("window", window)
    if not runs:
        raise ValueError("`runs` must not be empty")
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
    """Return steps, mean and standard deviation of several curves, over the range of steps that all of them cover.

    :param curves: The curves.
    :param n_points: Number of points at which several curves are interpolated.
    """
    if len(curves) == 1:
        steps, values = curves[0]
        return steps, values, np.zeros_like(values)
    start, stop = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    grid = np.linspace(start, max(start, stop), n_points)
    values = np.stack([np.interp(grid, steps, returns) for steps, returns in curves])
    return grid, values.mean(axis=0), values.std(axis=0)
