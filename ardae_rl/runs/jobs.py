"""Long work as a set of runs: each in its own folder and process, skipped if finished, resumed if interrupted."""

import builtins
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

from ardae_rl.runs.display import display
from ardae_rl.runs.files import FolderInUseError, locked
from ardae_rl.runs.pool import CallError, ProcessPool
from ardae_rl.runs.run import ProgressQueue, Run
from ardae_rl.runs.run_folder import check_folder, is_finished, record_failure, record_finish, record_start
from ardae_rl.runs.worker import start_worker

if TYPE_CHECKING:
    from rich.console import Console

RunFunction = Callable[[dict[str, Any], Run], str]
FolderFunction = Callable[[dict[str, Any]], Path]
_SECONDS_BETWEEN_UPDATES = 0.5


class Workers(NamedTuple):
    """A backend that executes runs: :func:`processes`, or :func:`~ardae_rl.runs.cluster.ray_workers`.

    ``submit`` takes the function, the settings and the folder of a run, and returns a future of the run's summary line.
    ``progress`` receives the progress of the active runs.
    """

    submit: Callable[[RunFunction, dict[str, Any], Path], Future[str]]
    progress: ProgressQueue


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Execute runs in processes of this machine.

    :param jobs: Number of processes, with one thread each.
    """
    manager = SyncManager(ctx=get_context("spawn"))
    manager.start(start_worker)
    with manager:
        progress: ProgressQueue = manager.Queue()
        with ProcessPool(jobs) as pool:
            yield Workers(
                lambda function, settings, folder: pool.submit(make_run, function, settings, folder, progress), progress
            )


def run_missing(
    function: RunFunction,
    folder: FolderFunction,
    runs: Sequence[dict[str, Any]],
    workers: AbstractContextManager[Workers],
) -> list[dict[str, Any]]:
    """Execute the runs that are not finished yet, and show their progress: see :mod:`ardae_rl.runs.display`.

    An interrupted run is resumed from what it left in its folder. A run that fails does not stop the others: see
    :func:`~ardae_rl.runs.run_folder.failure`.

    :param function: Executes the run with the given settings, and returns one line about its result.
    :param folder: Returns the folder of a run.
    :param runs: Settings of the runs.
    :param workers: :func:`processes`, or :func:`~ardae_rl.runs.cluster.ray_workers`.
    :return: Settings of the runs that are finished now; fewer than ``runs`` if some have failed.
    :raises ValueError: If a folder has a run with other settings, or unrelated files; no run is started then.
    """
    from rich.console import Console  # here, for those who use a Run without a command line around it

    for settings in runs:
        check_folder(folder(settings), settings)
    missing = [settings for settings in runs if not is_finished(folder(settings), settings)]
    console = Console()
    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} already finished")
    if missing:
        with workers as (submit, progress):
            futures = {submit(function, settings, folder(settings)): settings for settings in missing}
            _show_progress(futures, folder, progress, console)
    return [settings for settings in runs if is_finished(folder(settings), settings)]


def make_run(function: RunFunction, settings: dict[str, Any], folder: Path, progress: ProgressQueue) -> str:
    """Execute one run in its folder, in a worker, and return the run's line.

    :raises ValueError: If the folder has a run with other settings, or unrelated files.
    :raises FolderInUseError: If another process works in the folder.
    """
    name = _name(settings, folder)
    with locked(folder):
        check_folder(folder, settings)
        if is_finished(folder, settings):
            return f"{name}: finished by another process"
        record_start(folder, settings)
        line = function(settings, Run(folder, name, progress))
        record_finish(folder, settings)
    return line


def _show_progress(
    futures: Mapping[Future[str], dict[str, Any]], folder: FolderFunction, progress: ProgressQueue, console: "Console"
) -> None:
    """Show progress until all runs have ended, print their lines, and record why runs failed."""
    with display(len(futures), console) as shown:
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_SECONDS_BETWEEN_UPDATES, return_when=FIRST_COMPLETED)
            for report in _received(progress):
                shown.report(*report)
            for future in done:
                path = folder(futures[future])
                shown.end(_name(futures[future], path))
                try:
                    console.print(future.result(), markup=False)
                except Exception as error:
                    text = str(error) if isinstance(error, CallError) else traceback.format_exc()
                    _report_failure(path, text)
            shown.update(len(futures) - len(pending))


def _name(settings: dict[str, Any], folder: Path) -> str:
    return str(settings.get("name", folder.name))


def _report_failure(folder: Path, text: str) -> None:
    """Print why a run failed, and record it in its folder unless another process works there.

    The traceback is printed only if the cause is in the program, not if it is in its surroundings.
    """
    kind, _, message = text.strip().splitlines()[-1].partition(": ")
    if kind.endswith(FolderInUseError.__name__):
        print(f"failed: {message}", file=sys.stderr, flush=True)
        return
    brief = f"failed: the run in {folder}: {message}"
    print(brief if _is_os_error(kind) else f"failed: the run in {folder}\n{text}", file=sys.stderr, flush=True)
    with suppress(FolderInUseError, OSError), locked(folder):  # the disk may be full
        record_failure(folder, text)


def _is_os_error(name: str) -> bool:
    """Return whether an exception of this name reports a full disk, a missing permission or the like."""
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, OSError)


def _received(progress: ProgressQueue) -> Iterator[tuple[str, int, int, str]]:
    while True:
        try:
            yield progress.get_nowait()
        except Empty:
            return
