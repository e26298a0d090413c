"""Play the episodes of many candidates in processes on this machine.

Unlike the pools of :mod:`ardae_rl.runs` (independent jobs) and of the collection (episodes streamed in order), these
processes keep an evaluator between calls, and return all results of a call at once.
"""

import multiprocessing
import pickle
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from ardae_rl.common.checks import check_count
from ardae_rl.runs.worker import ctrl_c_ignored, start_worker
from ardae_rl.world_models.evolution.evaluator import Array, Episodes, Evaluator, join, split

_CHUNKS_PER_WORKER = 2  # more would balance the load better, but make batches smaller
_SECONDS_TO_END = 3.0


class ProcessEvaluator(Evaluator):
    """Runs evaluators in single-threaded processes. Whichever finishes its episodes first receives the next ones.

    An error in a worker is raised in this process, with the worker's traceback as a note, and ends all workers.

    Example:

    >>> from functools import partial
    >>> import gymnasium as gym
    >>> import numpy as np
    >>> from ardae_rl.world_models import WorldModelPolicy
    >>> from ardae_rl.world_models.evolution import ProcessEvaluator, RolloutEvaluator
    >>> make_env = partial(gym.make, "CarRacing-v3", max_episode_steps=2)
    >>> env = make_env()
    >>> policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    >>> make_evaluator = partial(RolloutEvaluator, make_env, policy, n_envs=2)
    >>> with ProcessEvaluator(make_evaluator, n_workers=1) as evaluator:
    ...     result = evaluator.evaluate(np.zeros((2, policy.n_parameters)), seeds=[0])
    >>> result.n_steps
    4

    :param make_evaluator: Picklable function that makes a worker's evaluator, called in its process.
    :param n_workers: Number of processes. They are spawned, so a script needs an ``if __name__ == "__main__":`` guard.
    :raises ValueError: For a number below 1.
    """

    def __init__(self, make_evaluator: Callable[[], Evaluator], n_workers: int) -> None:
        check_count("n_workers", n_workers)
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._processes: dict[Connection, Any] = {}
        for _ in range(n_workers):
            connection, worker_end = context.Pipe()
            process = context.Process(target=_work, args=(worker_end, make_evaluator), daemon=True)
            with ctrl_c_ignored():
                process.start()
            worker_end.close()  # so that the connection is closed when the worker ends
            self._processes[connection] = process

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        self._check_open()
        chunks = split(parameters, seeds, _CHUNKS_PER_WORKER * len(self._processes))
        return join(self._call([("play", *chunk, give_up) for chunk in chunks]))

    def update(self, state: dict[str, Any]) -> None:
        self._check_open()
        message = pickle.dumps(("update", state))  # once for all workers
        try:
            for connection in self._processes:
                self._send(connection, message)
            for connection in self._processes:
                self._receive(connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for connection in self._processes:
            connection.close()  # which ends idle workers
        deadline = time.monotonic() + _SECONDS_TO_END
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            process.kill()
            process.join()
        self._processes.clear()

    def _call(self, calls: list[tuple[Any, ...]]) -> list[Any]:
        """Return the results of calls, distributed over free workers."""
        results: list[Any] = [None] * len(calls)
        waiting = iter(enumerate(calls))
        busy: dict[Connection, int] = {}
        try:
            for connection, (index, call) in zip(self._processes, waiting, strict=False):
                self._send(connection, pickle.dumps(call))
                busy[connection] = index
            while busy:
                for ready in wait(list(busy)):
                    assert isinstance(ready, Connection)
                    results[busy.pop(ready)] = self._receive(ready)
                    for index, call in waiting:
                        self._send(ready, pickle.dumps(call))
                        busy[ready] = index
                        break
        except BaseException:  # including interruptions: a pending answer would be mistaken for that of a later call
            self.close()
            raise
        return results

    def _send(self, connection: Connection, message: bytes) -> None:
        try:
            connection.send_bytes(message)
        except OSError as error:
            raise self._ended(connection) from error

    def _receive(self, connection: Connection) -> Any:
        try:
            error, result = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError) as ended:
            raise self._ended(connection) from ended
        if error is not None:
            raise error
        return result

    def _ended(self, connection: Connection) -> RuntimeError:
        process = self._processes[connection]
        process.join(_SECONDS_TO_END)
        return RuntimeError(f"worker process {process.pid} ended with exit code {process.exitcode}")

    def _check_open(self) -> None:
        if not self._processes:
            raise RuntimeError("the workers have ended, by close() or after an error; make another ProcessEvaluator")


def _work(connection: Connection, make_evaluator: Callable[[], Evaluator]) -> None:
    """Make an evaluator at the first call, and answer calls with (error, result) until the connection is closed."""
    start_worker()
    evaluator: Evaluator | None = None
    try:
        while True:
            message = connection.recv_bytes()
            try:
                method, *arguments = pickle.loads(message)
                evaluator = evaluator or make_evaluator()
                answer = pickle.dumps((None, getattr(evaluator, method)(*arguments)))
            except Exception as error:
                answer = pickle.dumps((_portable(error), None))
            connection.send_bytes(answer)
    except (EOFError, OSError):  # closed
        if evaluator is not None:
            evaluator.close()


def _portable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or a RuntimeError if it cannot be pickled."""
    text = f"In a worker process:\n{traceback.format_exc()}"
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error
