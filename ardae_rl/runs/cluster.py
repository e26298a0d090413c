"""The same runs on the machines of a Ray cluster."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.common.optional import require
from ardae_rl.runs.jobs import Workers, make_run
from ardae_rl.runs.run import Run

_RETRIES = 2
_COLLECTED = "*.*"  # what lies in the run's folder itself; checkpoints, in folders of their own, stay where they are


@contextmanager
def ray_workers(cpus: float = 1, gpus: float = 0) -> Iterator[Workers]:
    """Workers wherever Ray finds room: on the cluster that this machine belongs to, else on this machine.

    A run works in its folder on the machine that it is sent to, and its files come back when it ends. Failed runs are
    tried again; they go on from their checkpoint if they meet it again, on the same machine or a shared disk.

    :param cpus: cores that a run occupies; torch gets as many threads
    :param gpus: GPUs that it occupies, also a fraction
    :raises ImportError: without Ray
    """
    require("ray", "ray")
    import ray
    from ray.util.queue import Queue

    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        reports: Any = Queue()
        remote = ray.remote(_make_run_there)
        remote = remote.options(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES, retry_exceptions=True)

        def submit(
            function: Callable[[dict[str, Any], Run], str], settings: dict[str, Any], folder: Path
        ) -> Future[str]:
            there: Future[tuple[str, str, dict[str, bytes]]] = remote.remote(
                function, settings, str(folder.absolute()), reports, max(1, int(cpus))
            ).future()
            here: Future[str] = Future()
            there.add_done_callback(lambda ended: _collect(ended, folder, here))
            return here

        yield Workers(submit, reports)
        reports.shutdown()
    finally:
        if started:
            ray.shutdown()


def _make_run_there(
    function: Callable[[dict[str, Any], Run], str], settings: dict[str, Any], folder: str, reports: Any, threads: int
) -> tuple[str, str, dict[str, bytes]]:
    """The run's line, the machine, and the files that the run has left."""
    th.set_num_threads(threads)
    line = make_run(function, settings, Path(folder), reports)
    files = {path.name: path.read_bytes() for path in Path(folder).glob(_COLLECTED) if path.is_file()}
    return line, socket.gethostname(), files


def _collect(there: Future[tuple[str, str, dict[str, bytes]]], folder: Path, here: Future[str]) -> None:
    try:
        line, host, files = there.result()
        if host != socket.gethostname():
            folder.mkdir(parents=True, exist_ok=True)
            # Last the mark that the run is whole
            for name in sorted(files, key=lambda name: name == "finished.json"):
                (folder / name).write_bytes(files[name])
        here.set_result(f"{line} ({host})")
    except Exception as error:
        here.set_exception(error)
