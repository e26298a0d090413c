"""The common form of all experiments, and the function that executes the runs and writes the table and the plot."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ardae_rl.common.checks import check_choice, check_count, check_output_folder
from ardae_rl.common.optional import require
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, merge_csv, print_table, read_csv, versions, write_csv
from experiments.catalog import load
from experiments.options import parse_options

RUNS = Path("runs/experiments")  # models and logs; ignored by git
_ROWS = "rows.csv"


class Result(NamedTuple):
    """A finished run."""

    settings: dict[str, Any]
    folder: Path  # the run may have left files beside its rows
    rows: list[dict[str, str]]


@dataclass(frozen=True)
class Figure:
    """An experiment. Its module ends with ``FIGURE = Figure(...)``.

    :param runs: Returns the settings of all runs, given a budget and a number of seeds. Settings are JSON values that
        hold everything that the run depends on, including a unique "name". The keyword-only parameters of ``runs``,
        which need type hints and defaults, are the experiment's options.
    :param run: Executes one run in its folder, and returns its rows of the table.
    :param summary: Reduces the rows to the few numbers that the experiment is about, which are printed; or the names of
        the columns to print.
    :param seeds: Default number of seeds by budget; 0 for an experiment without seeds. Every experiment has the budget
        "smoke".
    :param draw: Draws the finished runs into a .png file. None for an experiment without a plot.
    :param prepare: Executes a run that other runs need: those whose settings hold its settings as "needs". They find
        its folder with :func:`needed`.
    :param key: Columns that identify a row of the table. Results are merged into the table by this key; without one
        they replace the table of their budget. The budget "smoke" always has a table of its own.
    :param table_by: Option whose value becomes part of the table's file name.
    :param timed: Whether the runs measure time. Such runs are always repeated, one after the other.
    :param summary_key: Columns that identify a row of the summary. With them, the summary is merged into
        ``<table>_summary.csv``: for a summary that also uses files which the runs left.
    """

    runs: Callable[..., list[dict[str, Any]]]
    run: Callable[[dict[str, Any], Run], Sequence[Row]]
    summary: Callable[[Sequence[dict[str, str]]], Sequence[Row]] | tuple[str, ...]
    seeds: Mapping[str, int]
    draw: Callable[[Sequence[Result], Path], None] | None = None
    prepare: Callable[[dict[str, Any], Run], None] | None = None
    key: tuple[str, ...] = ()
    table_by: str | None = None
    timed: bool = False
    summary_key: tuple[str, ...] = ()


def run_experiment(
    name: str,
    budget: str = "quick",
    n_seeds: int | None = None,
    jobs: int | None = None,
    out: Path = RUNS,
    options: Sequence[str] = (),
) -> list[Path]:
    """Execute the missing runs of an experiment, then write its table ``<name>.csv`` and its plot into ``out``.

    Each run has a folder below runs/experiments. Finished runs are skipped; interrupted ones resume if the experiment
    has checkpoints, and start over otherwise. A run that fails stops only those that need it; the table then has the
    finished runs, and there is no plot.

    :param name: One of :data:`~experiments.catalog.EXPERIMENTS`.
    :param budget: "smoke" (seconds: does it run?), "quick" (minutes to hours on two cores) or "paper" (the paper's
        number of updates and repetitions); not all experiments have every budget.
    :param n_seeds: Number of seeds, from 0 on. By default the experiment's own number for the budget.
    :param jobs: Number of one-thread processes, by default 2; 1 for an experiment that measures time.
    :param out: Folder of the table and the plot.
    :param options: The experiment's own options as ``name=value``; commas separate several values.
    :return: Paths of the table, the plot and the summary, as far as the experiment has them.
    :raises ValueError: For a wrong argument.
    :raises RuntimeError: If a run failed. The table of the others is written first.
    """
    figure = load(name)
    check_choice("budget", budget, tuple(figure.seeds))
    check_output_folder("out", out)
    values = parse_options(figure.runs, options)
    jobs = _checked_jobs(figure, name, jobs)
    runs = figure.runs(budget, _checked_seeds(figure, name, budget, n_seeds), **values)
    if figure.draw is not None:
        require("matplotlib", "plots")  # before the runs, not after them
    results = _results(figure, name, budget, runs, jobs)
    missing = _missing(runs, results)
    if not results:
        raise RuntimeError(missing)
    rows = [row for result in results for row in result.rows]
    stem = name if figure.key and budget != "smoke" else f"{name}_{budget}"
    if figure.table_by is not None:
        stem += f"_{_file_name(str(values[figure.table_by]))}"
    table = out / f"{stem}.csv"
    if figure.key:
        merge_csv(table, rows, figure.key)
    else:
        write_csv(table, rows)
    if missing:
        raise RuntimeError(f"{missing}; {table} has the others")
    written = [table]
    summary = _summary(figure, rows)
    if figure.draw is not None:
        figure.draw(results, table.with_suffix(".png"))
        written.append(table.with_suffix(".png"))
    if figure.summary_key:
        written.append(table.with_name(f"{table.stem}_summary.csv"))
        merge_csv(written[-1], [dict(row) | versions() for row in summary], figure.summary_key)
    print_table(summary, f"{name}, {budget}")
    return written


def needed(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Return the folder of the run that the run in ``folder``, with these settings, needs."""
    return folder.parent / _file_name(settings["needs"]["name"])


def _checked_jobs(figure: Figure, name: str, jobs: int | None) -> int:
    if figure.timed:
        if jobs not in (None, 1):
            raise ValueError(f"`jobs` must be 1 for {name}, which measures time, got {jobs}")
        return 1
    jobs = 2 if jobs is None else jobs
    check_count("jobs", jobs)
    return jobs


def _checked_seeds(figure: Figure, name: str, budget: str, n_seeds: int | None) -> int:
    default = figure.seeds[budget]
    if n_seeds is None:
        return default
    if default == 0:
        raise ValueError(f"`n_seeds` must be left out for {name}, which has no seeds, got {n_seeds}")
    check_count("n_seeds", n_seeds)
    return n_seeds


def _results(figure: Figure, name: str, budget: str, runs: list[dict[str, Any]], jobs: int) -> list[Result]:
    folder = partial(_folder, RUNS / f"{name}_{budget}")
    if figure.timed:
        for settings in runs:
            shutil.rmtree(folder(settings), ignore_errors=True)
    shared = {settings["needs"]["name"]: settings["needs"] for settings in runs if "needs" in settings}
    prepared = _finished(_prepare, name, folder, list(shared.values()), jobs)
    ready = [settings for settings in runs if "needs" not in settings or settings["needs"] in prepared]
    finished = _finished(_run, name, folder, ready, jobs)
    return [Result(settings, folder(settings), read_csv(folder(settings) / _ROWS)) for settings in finished]


def _finished(
    function: Callable[..., str],
    name: str,
    folder: Callable[[dict[str, Any]], Path],
    runs: list[dict[str, Any]],
    jobs: int,
) -> list[dict[str, Any]]:
    """Execute the runs, and return those that did not fail."""
    return run_missing(partial(function, name), folder, runs, processes(jobs)) if runs else []


def _missing(runs: Sequence[dict[str, Any]], results: Sequence[Result]) -> str:
    """Return a text that names the runs without a result; empty if there are none."""
    finished = [result.settings["name"] for result in results]
    missing = [settings["name"] for settings in runs if settings["name"] not in finished]
    if not missing:
        return ""
    return f"{len(missing)} of {len(runs)} runs failed ({', '.join(missing)}); the same command continues them"


def _summary(figure: Figure, rows: Sequence[dict[str, str]]) -> Sequence[Row]:
    if isinstance(figure.summary, tuple):
        return [{name: row[name] for name in figure.summary} for row in rows]
    return figure.summary(rows)


def _folder(parent: Path, settings: Mapping[str, Any]) -> Path:
    return parent / _file_name(settings["name"])


def _file_name(text: str) -> str:
    for mark in ("'", ",", ":", ";"):
        text = text.replace(mark, "")
    return text.replace(" ", "_").replace("/", "-")


def _run(name: str, settings: dict[str, Any], run: Run) -> str:
    rows = load(name).run(settings, run)
    write_csv(run.folder / _ROWS, [dict(row) | versions() for row in rows])
    return f"{settings['name']}: done"


def _prepare(name: str, settings: dict[str, Any], run: Run) -> str:
    prepare = load(name).prepare
    if prepare is None:
        raise TypeError(f"the experiment {name} has runs that need another one, but no function `prepare`")
    prepare(settings, run)
    return f"{settings['name']}: done"
