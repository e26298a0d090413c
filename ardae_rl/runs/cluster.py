"""Runs on the machines of a Ray cluster."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.common.optional import require
from ardae_rl.runs.jobs import RunFunction, Workers, make_run
from ardae_rl.runs.run import ProgressQueue

_RETRIES = 2
_COLLECTED = "[!.]*.*"  # files in the run's folder itself; checkpoints, in folders of their own, stay where they are
RemoteResult = tuple[str, str, dict[str, bytes]]  # the run's line, the machine, the files


@contextmanager
def ray_workers(gpus: float = 0) -> Iterator[Workers]:
    """Execute runs wherever Ray has resources: on the cluster that this machine belongs to, or on this machine.

    A run has one core and works in its folder on the machine that it is sent to; its files are copied back when it
    ends. A failed run is retried, from its checkpoint if that is on the same machine or a shared disk.

    :param gpus: GPUs per run, or a fraction of one.
    :raises ImportError: If Ray is not installed.
    """
    require("ray", "ray")
    import ray
    from ray.util.queue import Queue

    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        progress: Any = Queue()
        remote = ray.remote(_make_remote_run)
        remote = remote.options(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES, retry_exceptions=True)

        def submit(function: RunFunction, settings: dict[str, Any], folder: Path) -> Future[str]:
            remote_future: Future[RemoteResult] = remote.remote(
                function, settings, str(folder.absolute()), progress
            ).future()
            local_future: Future[str] = Future()
            remote_future.add_done_callback(lambda done: _collect(done, folder, local_future))
            return local_future

        yield Workers(submit, progress)
        progress.shutdown()
    finally:
        if started:
            ray.shutdown()


def _make_remote_run(
    function: RunFunction, settings: dict[str, Any], folder: str, progress: ProgressQueue
) -> RemoteResult:
    """Execute a run, in a remote worker."""
    th.set_num_threads(1)
    line = make_run(function, settings, Path(folder), progress)
    files = {path.name: path.read_bytes() for path in Path(folder).glob(_COLLECTED) if path.is_file()}
    return line, socket.gethostname(), files


def _collect(remote_future: Future[RemoteResult], folder: Path, local_future: Future[str]) -> None:
    """Copy the files of a run from another machine, and pass on its line or error."""
    try:
        line, host, files = remote_future.result()
        if host != socket.gethostname():
            folder.mkdir(parents=True, exist_ok=True)
            # The mark that the run is complete comes last
            for name in sorted(files, key=lambda name: name == "finished.json"):
                (folder / name).write_bytes(files[name])
        local_future.set_result(f"{line} ({host})")
    except Exception as error:
        local_future.set_exception(error)
