"""Long work as a set of runs: each in its folder and process, skipped if finished, continued if interrupted."""

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Protocol

import torch as th
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Settings = Mapping[str, Any]
Reports = Queue[tuple[str, int, int]]
_REPORT_SECONDS = 0.5


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
    :param reports: takes (name, steps done, steps in all); None for a run without a progress bar
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

    def report(self, done: int, total: int) -> None:
        """Move the progress bar, at most a few times a second."""
        now = time.monotonic()
        if self._reports is not None and (done == total or now - self._last_report > _REPORT_SECONDS):
            self._last_report = now
            self._reports.put((self.name, done, total))


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


def run_missing(
    function: Callable[[dict[str, Any], Run], str],
    folder: Callable[[dict[str, Any]], Path],
    runs: Sequence[dict[str, Any]],
    jobs: int,
) -> list[dict[str, Any]]:
    """Make the runs whose folder does not have them yet, with a progress bar for all and one for each at work.

    What an interrupted run with the same settings has left in its folder is there for it to go on from; what other
    settings have left is deleted.

    :param function: makes the run of the given settings, and says in a line what came of it
    :param folder: where it does so
    :param runs: settings
    :param jobs: one-thread processes
    :return: those of ``runs`` that are finished now; fewer than ``runs`` if some have failed
    """
    missing = [settings for settings in runs if not finished(folder(settings), settings)]
    console = Console()
    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} of them finished before")
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool,
    ):
        reports: Reports = manager.Queue()
        futures = {
            pool.submit(_run_one, function, settings, folder(settings), reports): settings for settings in missing
        }
        _follow(futures, reports, console)
    return [settings for settings in runs if finished(folder(settings), settings)]


def _start_worker() -> None:
    th.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker that outlives a killed command would write into the folders of the one that goes on with its runs."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_one(
    function: Callable[[dict[str, Any], Run], str], settings: dict[str, Any], folder: Path, reports: Reports
) -> str:
    if not _recorded(folder / "settings.json", settings) and folder.exists():
        shutil.rmtree(folder)
    run = Run(folder, folder.name, reports)
    _record(folder / "settings.json", settings)
    line = function(settings, run)
    _record(folder / "finished.json", settings)
    return line


def _follow(futures: Mapping[Future[str], dict[str, Any]], reports: Reports, console: Console) -> None:
    """Show progress until all have ended; one failure does not stop the others."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        overall = progress.add_task("runs", total=len(futures))
        bars: dict[str, TaskID] = {}
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_REPORT_SECONDS, return_when=FIRST_COMPLETED)
            for name, step, total in _drain(reports):
                if name not in bars:
                    bars[name] = progress.add_task(name)
                progress.update(bars[name], completed=step, total=total, visible=step < total)
            for future in done:
                progress.advance(overall)
                try:
                    progress.console.print(future.result())
                except Exception:
                    print(f"failed: {futures[future]}\n{traceback.format_exc()}", file=sys.stderr, flush=True)


def _drain(reports: Reports) -> Iterator[tuple[str, int, int]]:
    while True:
        try:
            yield reports.get_nowait()
        except Empty:
            return


def _recorded(path: Path, settings: Settings) -> bool:
    return path.exists() and json.loads(path.read_text()) == json.loads(json.dumps(settings))


def _record(path: Path, settings: Settings) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n")
