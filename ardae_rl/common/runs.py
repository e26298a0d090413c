"""Long work as a set of runs: each in its folder and process, skipped if finished, continued if interrupted."""

import json
import multiprocessing
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch as th

from ardae_rl.common.worker import start_worker

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Settings = Mapping[str, Any]
Reports = Queue[tuple[str, int, int, str]]
_REPORT_SECONDS = 0.5
_FAILURE = "failure.txt"


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimizers, learning rate schedulers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Records(list[dict[str, float]]):
    """Rows of numbers that a training loop collects, as a part of its checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self[:] = state_dict["rows"]


class Run:
    """A run at work: its folder, and training steps that survive an interruption and tell how far they are.

    :param folder: where the run leaves its files; made if missing
    :param name: what the progress bar calls it
    :param reports: takes (name, steps done, steps in all, note); None for a run without a progress bar
    """

    def __init__(self, folder: Path, name: str = "", reports: Reports | None = None) -> None:
        self.folder, self.name, self._reports = folder, name, reports
        self._last_report = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def steps(
        self, n: int, parts: Mapping[str, Stateful], *, checkpoint: str = "checkpoint", every: int = 1000
    ) -> Iterator[int]:
        """0, ..., n - 1, or what is left of them after an interruption.

        :param n: number of steps
        :param parts: what the loop changes: saved with torch's random state after every ``every`` steps and at the
            end, and loaded at the start where the folder has such a file
        :param checkpoint: the file's name, for runs of several loops
        :param every: steps between checkpoints
        """
        path = self.folder / f"{checkpoint}.pt"
        start = _load(path, parts) if path.exists() else 0
        for step in range(start, n):
            self.report(step, n)
            yield step
            if (step + 1) % every == 0 or step + 1 == n:
                _save(path, parts, step + 1)
        self.report(n, n)

    def report(self, done: int, total: int, note: str = "") -> None:
        """Move the progress bar, at most a few times a second; ``note`` stands beside it."""
        now = time.monotonic()
        if self._reports is not None and (done == total or now - self._last_report > _REPORT_SECONDS):
            self._last_report = now
            self._reports.put((self.name, done, total, note))


def _save(path: Path, parts: Mapping[str, Stateful], step: int) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    temporary = path.with_suffix(".tmp")
    th.save({"step": step, "random_state": th.get_rng_state(), "parts": states}, temporary)
    temporary.replace(path)


def _load(path: Path, parts: Mapping[str, Stateful]) -> int:
    saved = th.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    th.set_rng_state(saved["random_state"])
    step: int = saved["step"]
    return step


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
    :param workers: :func:`processes`, or :func:`~ardae_rl.common.cluster.ray_workers`
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
