"""Learning curves of the stages of a round."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ardae_rl.common.optional import require
from ardae_rl.runs.tables import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FITS = {"vision": "validation_error", "memory": "validation_nll"}  # the column drawn for each stage


def draw_learning(round_folder: Path, path: Path) -> Path:
    """Plot V's and M's errors on held-out episodes and C's returns, from the CSV files of the stages.

    :param round_folder: Folder of a round, such as ``FOLDER/round_0``.
    :param path: Path of the figure.
    :return: ``path``.
    :raises ImportError: If matplotlib is not installed.
    """
    require("matplotlib", "plots")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    *fits, controller = figure.subplots(1, 3)
    for axes, (stage, name) in zip(fits, _FITS.items(), strict=True):
        axes.plot(*_columns(round_folder / f"{stage}.csv", "step", name))
        axes.set(title=stage, xlabel="gradient steps", ylabel=name.replace("_", " "))
    _draw_controller(controller, round_folder / "controller.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _draw_controller(axes: "Axes", table: Path) -> None:
    """Draw the learning curve of a CMA-ES search or of PPO."""
    is_training = "training_return" in read_csv(table)[0]
    (_draw_training if is_training else _draw_search)(axes, table)
    axes.set(title="controller", ylabel="return")
    axes.legend(fontsize="small")


def _draw_training(axes: "Axes", table: Path) -> None:
    decisions, averaged, training, held_out, error = _columns(
        table, "n_steps", "averaged", "training_return", "held_out_mean", "held_out_error"
    )
    axes.plot(decisions, training, color="0.6", lw=1, label="training, last 100 episodes")
    for value, color, label in ((0, "C0", "latest weights"), (1, "C1", "average of the weights")):
        rows = averaged == value
        axes.errorbar(decisions[rows], held_out[rows], error[rows], color=color, capsize=2, label=f"{label}, held-out")
    axes.set(xlabel="decisions")


def _draw_search(axes: "Axes", table: Path) -> None:
    generation, mean, best, held_out, error = _columns(
        table, "generation", "mean_fitness", "max_fitness", "held_out_mean", "held_out_error"
    )
    axes.plot(generation, mean, color="C0", label="candidates, mean")
    axes.plot(generation, best, color="0.8", lw=1, zorder=0, label="candidates, best")
    measured = np.isfinite(held_out)
    axes.errorbar(
        generation[measured],
        held_out[measured],
        error[measured],
        color="C1",
        capsize=2,
        label="the search's mean, held-out seeds",
    )
    axes.set(xlabel="generations")


def _columns(table: Path, *names: str) -> list[np.ndarray]:
    rows = read_csv(table)
    return [np.array([float(row[name]) for row in rows]) for name in names]
