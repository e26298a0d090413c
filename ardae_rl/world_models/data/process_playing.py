"""Play episodes in several processes, for environments with slow steps.

Unlike the pools of :mod:`ardae_rl.runs` (independent jobs) and of the evolution (batches of candidates, all results at
once), these processes stream whole episodes to the caller, in the order of the seeds and as soon as each is complete.
"""

import heapq
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection, wait
from typing import Any

from ardae_envs.collection import SupportsPredict
from ardae_rl.runs.worker import ctrl_c_ignored, start_worker
from ardae_rl.world_models.data.frame_store import Episode
from ardae_rl.world_models.data.playing import Env, Preprocess, play

_ENDED = "a process that played episodes has ended: it was killed, perhaps out of memory, or failed as shown above"


def play_in_processes(
    n: int,
    make_env: Callable[[], Env],
    policy: SupportsPredict,
    seeds: Iterable[int],
    preprocess: Preprocess | None = None,
    *,
    policy_name: str | None = None,
    deterministic: bool = False,
    on_step: Callable[[int], bool] | None = None,
) -> Generator[Episode, None, None]:
    """Play as :func:`~ardae_rl.world_models.data.playing.play`, in n processes of one environment each.

    :param on_step: Called with the length of each completed episode; playing stops when it returns False.
    :raises Exception: An exception of a process, after the episodes that precede it have been yielded.
    :raises RuntimeError: If a process was killed.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    pending: Iterator[tuple[int, int]] = enumerate(seeds)
    playing: dict[Any, int] = {}  # number of the episode that the process at the other end plays
    ended: list[tuple[int, Episode | Exception]] = []
    n_yielded, continues = 0, True
    connections, workers = [], []
    try:
        for _ in range(n):
            connection, other_end = context.Pipe()
            arguments = (other_end, make_env, policy, preprocess, policy_name, deterministic)
            worker = context.Process(target=_serve, args=arguments, daemon=True)
            with ctrl_c_ignored():
                worker.start()
            other_end.close()  # so that only the worker holds it, and the worker's end closes the connection
            connections.append(connection)
            workers.append(worker)
        free: list[Any] = list(connections)
        while continues:
            for connection, (number, seed) in zip(free, pending, strict=False):
                _send(connection, seed)
                playing[connection] = number
            if not playing:
                return
            free = list(wait(list(playing)))
            for connection in free:
                answer = _receive(connection)
                heapq.heappush(ended, (playing.pop(connection), answer))
                if isinstance(answer, Exception):
                    pending = iter(())
                else:
                    continues = (on_step is None or on_step(len(answer.rewards))) and continues
            while ended and ended[0][0] == n_yielded:
                _, answer = heapq.heappop(ended)
                if isinstance(answer, Exception):
                    raise answer
                yield answer
                n_yielded += 1
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _send(connection: Connection, seed: int) -> None:
    try:
        connection.send(seed)
    except OSError as error:
        raise RuntimeError(_ENDED) from error


def _receive(connection: Connection) -> Episode | Exception:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return RuntimeError(_ENDED)


def _serve(
    connection: Connection,
    make_env: Callable[[], Env],
    policy: SupportsPredict,
    preprocess: Preprocess | None,
    policy_name: str | None,
    deterministic: bool,
) -> None:
    """Play an episode for each seed received, until the other end is closed."""
    start_worker()
    try:
        with closing(make_env()) as env:
            while True:
                seeds = [connection.recv()]
                played = play([env], policy, seeds, preprocess, policy_name=policy_name, deterministic=deterministic)
                connection.send(next(played))
    except (EOFError, BrokenPipeError):  # the parent process has ended
        return
    except Exception as error:
        connection.send(error)
