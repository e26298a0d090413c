"""Episodes of many candidates, spread over the machines of a Ray cluster."""

from collections.abc import Callable
from typing import Any

import torch as th

from ardae_rl.common.checks import check_positive
from ardae_rl.common.optional import require
from ardae_rl.world_models.evolution.base import Array, Episodes, Evaluator, join, split

_CHUNKS_PER_WORKER = 2


class RayEvaluator(Evaluator):
    """Evaluators in Ray's actors: on the cluster that this machine belongs to, else on this machine.

    Errors of an actor are raised here, with its traceback. On one machine there is nothing to gain over
    :class:`~ardae_rl.world_models.evolution.processes.ProcessEvaluator`.

    :param make_evaluator: makes an actor's own evaluator, there; a function that can be pickled
    :param n_workers: actors
    :param cpus: cores that an actor occupies; torch gets as many threads
    :param gpus: GPUs that it occupies, also a fraction
    :raises ImportError: without Ray
    """

    def __init__(
        self, make_evaluator: Callable[[], Evaluator], n_workers: int, cpus: float = 1, gpus: float = 0
    ) -> None:
        check_positive("n_workers", n_workers)
        require("ray", "ray")
        import ray

        self._started = not ray.is_initialized()
        if self._started:
            ray.init(include_dashboard=False, log_to_driver=False)
        actor = ray.remote(_Actor).options(num_cpus=cpus, num_gpus=gpus)
        self._actors = [actor.remote(make_evaluator, max(1, int(cpus))) for _ in range(n_workers)]

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        from ray.util import ActorPool

        chunks = split(parameters, seeds, _CHUNKS_PER_WORKER * len(self._actors))
        # A pool for each call: one that has raised is not in order
        return join(list(ActorPool(self._actors).map(lambda actor, chunk: actor.play.remote(*chunk, give_up), chunks)))

    def update(self, state: dict[str, Any]) -> None:
        import ray

        shared = ray.put(state)  # once to each machine
        ray.get([actor.update.remote(shared) for actor in self._actors])

    def close(self) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._started:
            ray.shutdown()
            self._started = False


class _Actor:
    """A worker's evaluator."""

    def __init__(self, make_evaluator: Callable[[], Evaluator], threads: int) -> None:
        th.set_num_threads(threads)
        self.evaluator = make_evaluator()

    def play(self, parameters: Array, seeds: Array, give_up: bool) -> Episodes:
        return self.evaluator.play(parameters, seeds, give_up)

    def update(self, state: dict[str, Any]) -> None:
        self.evaluator.update(state)
