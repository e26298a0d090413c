"""Play the episodes of many candidates on the machines of a Ray cluster."""

from collections.abc import Callable
from typing import Any

import torch as th

from ardae_rl.common.checks import check_count
from ardae_rl.common.optional import require
from ardae_rl.world_models.evolution.evaluator import Array, Episodes, Evaluator, join, split

_CHUNKS_PER_WORKER = 2


class RayEvaluator(Evaluator):
    """Runs evaluators in Ray actors, on the Ray cluster that this machine belongs to, or else on this machine alone.

    An error in an actor is raised in this process, with its traceback. On a single machine, this class has no advantage
    over :class:`~ardae_rl.world_models.evolution.process_evaluator.ProcessEvaluator`.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import Episodes, Evaluator, RayEvaluator
    >>> class Sphere(Evaluator):
    ...     def play(self, parameters, seeds, give_up=True):
    ...         n = len(parameters)
    ...         return Episodes(-np.square(parameters).sum(1), np.ones(n, int), np.zeros(n, bool))
    >>> with RayEvaluator(Sphere, n_workers=2) as evaluator:
    ...     result = evaluator.evaluate(np.eye(3), seeds=[0, 1])
    >>> result.fitness
    array([-1., -1., -1.])

    :param make_evaluator: Picklable function that makes an actor's evaluator, called in its process.
    :param n_workers: Number of actors.
    :param cpus: Number of cores reserved for an actor, and of its torch threads.
    :param gpus: Number of GPUs reserved for an actor; may be a fraction.
    :raises ImportError: If Ray is not installed.
    """

    def __init__(
        self, make_evaluator: Callable[[], Evaluator], n_workers: int, cpus: float = 1, gpus: float = 0
    ) -> None:
        check_count("n_workers", n_workers)
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
        # A new pool for each call, because a pool cannot be used after an error
        return join(list(ActorPool(self._actors).map(lambda actor, chunk: actor.play.remote(*chunk, give_up), chunks)))

    def update(self, state: dict[str, Any]) -> None:
        import ray

        shared = ray.put(state)  # copied once to each machine
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
    """An actor that holds an evaluator."""

    def __init__(self, make_evaluator: Callable[[], Evaluator], threads: int) -> None:
        th.set_num_threads(threads)
        self.evaluator = make_evaluator()

    def play(self, parameters: Array, seeds: Array, give_up: bool) -> Episodes:
        return self.evaluator.play(parameters, seeds, give_up)

    def update(self, state: dict[str, Any]) -> None:
        self.evaluator.update(state)
