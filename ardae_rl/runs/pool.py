"""A pool of processes on this machine that call functions: if one dies, only its own call fails."""

import multiprocessing
import pickle
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from ardae_rl.runs.worker import start_worker


class CallError(RuntimeError):
    """A call in another process failed; the message is that process's traceback, or says how the process ended."""


class ProcessPool:
    """Calls functions in processes, which are started when needed and reused.

    A process that dies is replaced. When the ``with`` block ends with an exception, such as Ctrl-C, calls that have not
    begun are cancelled and the processes are killed; otherwise all calls are completed first.

    Example (as a script, which needs ``if __name__ == "__main__":``)::

        with ProcessPool(2) as pool:
            print([future.result() for future in [pool.submit(pow, 2, k) for k in range(3)]])  # [1, 2, 4]

    :param n_processes: Number of processes, with one thread each.
    """

    def __init__(self, n_processes: int) -> None:
        self._threads = ThreadPoolExecutor(n_processes)  # each waits for the result of a process
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._closed = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Return a future of ``function(*arguments)``, which raises `CallError` if the call fails."""
        return self._threads.submit(self._call, function, arguments)

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        with self._lock:
            if self._closed:
                raise CallError("the pool is closed")
            worker = self._idle.pop() if self._idle else _Worker()
            self._workers.add(worker)
        try:
            return worker.call(function, arguments)
        finally:
            with self._lock:
                if worker.process.is_alive():
                    self._idle.append(worker)
                else:
                    self._workers.remove(worker)

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=kind is not None)
        with self._lock:
            self._closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.end(kill=kind is not None)


class _Worker:
    """A process that calls one function after another."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._connection, other_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(other_end,))
        self.process.start()
        other_end.close()  # so that the end of the process ends the connection

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            self._connection.send((function, arguments))
            succeeded, value = self._connection.recv()
        except (EOFError, OSError) as error:
            self.process.join()
            code = self.process.exitcode
            raise CallError(f"the process died with exit code {code}; -9 often means out of memory") from error
        if not succeeded:
            raise CallError(value)
        return value

    def end(self, kill: bool) -> None:
        if kill:
            self.process.kill()
        self._connection.close()
        self.process.join()


def _serve(connection: Connection) -> None:
    start_worker()
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(message)
            answer = (True, function(*arguments))
        except BaseException:
            answer = (False, traceback.format_exc())
        connection.send(answer)
