"""Make a figure of the paper again: its runs, a table of its numbers, and the picture."""

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.common.optional import require
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, print_table, read_csv, versions, write_csv

FIGURES = {
    "fig3": "experiments.ardae_paper.fig3",
    "figS2": "experiments.ardae_paper.fig_s2",
    "fig4": "experiments.ardae_paper.fig4",
    "figS4": "experiments.ardae_paper.fig_s4",
    "fig5": "experiments.ardae_paper.fig5",
    "fig7": "experiments.ardae_paper.fig7",
    "dvbf-pendulum": "experiments.state_space.dvbf_pendulum",
    "dvbf-pixels": "experiments.state_space.dvbf_pixels",
}
BUDGETS = ("quick", "paper")
_ROWS = "rows.csv"


class Result(NamedTuple):
    """A finished run."""

    settings: dict[str, Any]
    folder: Path  # with what the run left beside its rows
    rows: list[dict[str, str]]


class Figure(Protocol):
    """What the module of a figure defines."""

    SEEDS: dict[str, int]  # by budget, where the caller gives none

    def runs(self, budget: str, n_seeds: int) -> list[dict[str, Any]]:
        """Settings of the runs: all that :meth:`run` depends on, JSON values, with a unique "name"."""

    def run(self, settings: dict[str, Any], at: Run) -> Sequence[Row]:
        """Make one run; its numbers, as rows of the figure's table."""

    def summary(self, rows: Sequence[dict[str, str]]) -> Sequence[Row]:
        """The few numbers that the figure's claim is about."""

    def draw(self, results: Sequence[Result], path: Path) -> None:
        """The picture."""


def reproduce(name: str, budget: str, n_seeds: int | None, jobs: int, out: Path) -> tuple[Path, Path]:
    """Run what is missing of a figure, then write ``<name>_<budget>.csv`` and ``.png`` into ``out``.

    Each run has a folder under runs/reproduce, is skipped where it is finished and continued where it was interrupted.

    :param name: of ``FIGURES``
    :param budget: "quick" (minutes) or "paper" (the paper's number of updates and repetitions: hours to days)
    :param n_seeds: repetitions, from seed 0 on; by default the figure's own number for the budget
    :param jobs: one-thread processes
    :return: paths of the table and the picture
    :raises ValueError: for an argument outside of what is accepted
    :raises RuntimeError: if a run failed
    """
    check_choice("figure", name, tuple(FIGURES))
    check_choice("--budget", budget, BUDGETS)
    figure = cast(Figure, importlib.import_module(FIGURES[name]))
    n_seeds = figure.SEEDS[budget] if n_seeds is None else n_seeds
    for option, value in {"--seeds": n_seeds, "--jobs": jobs}.items():
        check_positive(option, value)
    require("matplotlib", "plots")  # before the runs, not after them
    runs = figure.runs(budget, n_seeds)
    done = run_missing(partial(_run, name), partial(_folder, name, budget), runs, processes(jobs))
    if len(done) < len(runs):
        raise RuntimeError(f"{len(runs) - len(done)} of {len(runs)} runs failed; the same command goes on with them")
    results = []
    for settings in done:
        folder = _folder(name, budget, settings)
        results.append(Result(settings, folder, read_csv(folder / _ROWS)))
    rows = [row for result in results for row in result.rows]
    table, picture = (out / f"{name}_{budget}.{suffix}" for suffix in ("csv", "png"))
    write_csv(table, rows)
    figure.draw(results, picture)
    print_table(figure.summary(rows), f"{name}, {budget}")
    return table, picture


def _folder(name: str, budget: str, settings: dict[str, Any]) -> Path:
    return Path("runs") / "reproduce" / f"{name}_{budget}" / str(settings["name"])


def _run(name: str, settings: dict[str, Any], at: Run) -> str:
    figure = cast(Figure, importlib.import_module(FIGURES[name]))
    rows = figure.run(settings, at)
    write_csv(at.folder / _ROWS, [dict(row) | versions() for row in rows])
    return f"{settings['name']}: done"
