"""Long work as a set of runs: each in its folder and process, skipped if finished, continued if interrupted."""

import json
import multiprocessing
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

from ardae_rl.runs.run import Reports, Run
from ardae_rl.runs.worker import start_worker

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Settings = Mapping[str, Any]
_REPORT_SECONDS = 0.5
_FAILURE = "failure.txt"


def finished(folder: Path, settings: Settings) -> bool:
    """Whether the run in this folder ended and was made with these settings."""
    return _recorded(folder / "finished.json", settings)


def failure(folder: Path) -> str | None:
    """What the last attempt at a run ended with, if it failed."""
    path = folder / _FAILURE
    return path.read_text() if path.exists() else None


class Workers(NamedTuple):
    """Who makes runs: takes (function, settings, folder), promises the line; and where progress is reported."""

    submit: Callable[[Callable[[dict[str, Any], Run], str], dict[str, Any], Path], Future[str]]
    reports: Reports


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Workers on this machine.

    :param jobs: one-thread processes
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    manager = SyncManager(ctx=context)
    manager.start(start_worker)
    with manager, ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker) as pool:
        reports: Reports = manager.Queue()
        yield Workers(partial(pool.submit, partial(make_run, reports=reports)), reports)


def run_missing(
    function: Callable[[dict[str, Any], Run], str],
    folder: Callable[[dict[str, Any]], Path],
    runs: Sequence[dict[str, Any]],
    workers: AbstractContextManager[Workers],
) -> list[dict[str, Any]]:
    """Make the runs whose folder does not have them yet, with a progress bar for all and one for each at work.

    What an interrupted run with the same settings has left in its folder is there for it to go on from; what other
    settings have left is deleted. One failure does not stop the others: see :func:`failure`.

    :param function: makes the run of the given settings, and says in a line what came of it
    :param folder: where it does so
    :param runs: settings
    :param workers: :func:`processes`, or :func:`~ardae_rl.runs.cluster.ray_workers`
    :return: those of ``runs`` that are finished now; fewer than ``runs`` if some have failed
    """
    from rich.console import Console  # here, for those who have a Run without a command line around it

    missing = [settings for settings in runs if not finished(folder(settings), settings)]
    console = Console()
    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} of them finished before")
    if missing:
        with workers as (submit, reports):
            futures = {submit(function, settings, folder(settings)): settings for settings in missing}
            _follow(futures, folder, reports, console)
    return [settings for settings in runs if finished(folder(settings), settings)]


def make_run(
    function: Callable[[dict[str, Any], Run], str], settings: dict[str, Any], folder: Path, reports: Reports
) -> str:
    """What a worker does: make one run in its folder; the run's line."""
    if not _recorded(folder / "settings.json", settings) and folder.exists():
        shutil.rmtree(folder)
    run = Run(folder, str(settings.get("name", folder.name)), reports)
    (folder / _FAILURE).unlink(missing_ok=True)
    _record(folder / "settings.json", settings)
    line = function(settings, run)
    _record(folder / "finished.json", settings)
    return line


def _follow(
    futures: Mapping[Future[str], dict[str, Any]],
    folder: Callable[[dict[str, Any]], Path],
    reports: Reports,
    console: "Console",
) -> None:
    """Show progress until all have ended, and keep what failures say."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        overall = progress.add_task("runs", total=len(futures), note="")
        bars: dict[str, TaskID] = {}
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for name, step, total, note in _drain(reports):
                if name not in bars:
                    bars[name] = progress.add_task(name, note="")
                progress.update(bars[name], completed=step, total=total, note=note, visible=step < total)
            for future in done:
                progress.advance(overall)
                try:
                    progress.console.print(future.result())
                except Exception:
                    settings = futures[future]
                    folder(settings).mkdir(parents=True, exist_ok=True)
                    (folder(settings) / _FAILURE).write_text(traceback.format_exc())
                    print(f"failed: {settings}\n{traceback.format_exc()}", file=sys.stderr, flush=True)


def _drain(reports: Reports) -> Iterator[tuple[str, int, int, str]]:
    while True:
        try:
            yield reports.get_nowait()
        except Empty:
            return


def _recorded(path: Path, settings: Settings) -> bool:
    return path.exists() and json.loads(path.read_text()) == json.loads(json.dumps(settings))


def _record(path: Path, settings: Settings) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n")
