"""The third stage of World Models: evolve the controller, in the environment or in dreams."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch as th

from ardae_rl.common.checks import check_between, check_count, check_min, check_positive
from ardae_rl.runs.run import Run
from ardae_rl.world_models.data import LatentStore
from ardae_rl.world_models.dream import Dream, DreamEvaluator
from ardae_rl.world_models.evolution import CMAES, Evaluator, Evolution, ProcessEvaluator, RolloutEvaluator, evolve
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import HELD_OUT_SEEDS
from ardae_rl.world_models.stage import Stage


@dataclass(frozen=True)
class SearchStage(Stage):
    """Evolves C by CMA-ES, starting from its current parameters.

    :param temperature: Temperature of the dream, see :class:`~ardae_rl.world_models.dream.Dream`; unused by a search in
        the environment.
    :param n_generations: Number of generations of a search in the dream. A search in the environment ends when the
        environment steps are used up instead.
    :param population_size: Number of candidates in a generation.
    :param sigma: Initial standard deviation of the candidates' parameters.
    :param seeds_per_generation: Number of episodes that each candidate plays; all candidates play the same ones.
    :param evaluate_every: Number of generations between two evaluations of the distribution's mean on held-out seeds.
    :param n_held_out: Number of held-out seeds.
    :param patience: An episode in the environment is given up after this many decisions without a positive reward;
        None for never.
    :raises ValueError: For a value outside of its range.
    :raises TypeError: For a value that is not a number.
    """

    name: ClassVar[str] = "controller"
    argument: ClassVar[str] = "search_kwargs"

    temperature: float = 1.0
    n_generations: int = 100
    population_size: int = 16
    sigma: float = 0.1
    seeds_per_generation: int = 2
    evaluate_every: int = 10
    n_held_out: int = 16
    patience: int | None = 100

    def __post_init__(self) -> None:
        check_min(self._named("temperature"), self.temperature, 0)
        check_positive(self._named("sigma"), self.sigma)
        check_count(self._named("population_size"), self.population_size, 3)
        for field in ("n_generations", "seeds_per_generation", "evaluate_every", "n_held_out"):
            check_count(self._named(field), getattr(self, field))
        check_between(self._named("n_held_out"), self.n_held_out, 1, len(HELD_OUT_SEEDS))
        if self.patience is not None:
            check_count(self._named("patience"), self.patience)

    def __call__(
        self,
        policy: WorldModelPolicy,
        evaluator: Evaluator,
        run: Run,
        *,
        endless: bool = False,
        seed: int = 0,
        context: Mapping[str, Any] | None = None,
        callback: Callable[[Evolution, CMAES], bool | None] | None = None,
    ) -> Evolution:
        """Evolve the controller of ``policy``, or resume an interrupted search.

        The controller is left with the distribution's mean that had the highest return on the held-out seeds.

        :param evaluator: Plays the episodes, see :func:`make_evaluator` and :func:`make_dream_evaluator`.
        :param endless: Whether to ignore ``n_generations``, so that only ``callback`` ends the search.
        :param context: Further settings that are recorded and compared, see :meth:`Stage.check_resumed`.
        :param callback: Called after each generation; the search ends when it returns False.
        :raises ValueError: If the run was started with other settings.
        """
        self.check_resumed(run, seed, context)
        start = policy.controller_parameters.detach().cpu().numpy().astype(np.float64)
        es = CMAES(start, self.sigma, self.population_size, seed=seed)
        evolution = evolve(
            es,
            evaluator,
            None if endless else self.n_generations,
            seeds_per_generation=self.seeds_per_generation,
            seed=seed,
            evaluate_every=self.evaluate_every,
            held_out_seeds=HELD_OUT_SEEDS[: self.n_held_out],
            run=run,
            checkpoint=self.name,
            callback=callback,
        )
        assert evolution.best_mean is not None  # the first mean is always evaluated
        policy.controller_parameters.data = th.as_tensor(evolution.best_mean, dtype=th.float32, device=policy.device)
        return evolution


def make_evaluator(
    policy: WorldModelPolicy,
    make_env: Callable[[], gym.Env[Any, Any]],
    n_envs: int = 16,
    n_workers: int = 0,
    patience: int | None = 100,
) -> Evaluator:
    """Return an evaluator that plays controllers in environments, with the policy's vision and memory.

    :param make_env: Function that makes an environment, picklable if there are workers. If the policy repeats actions,
        it must call :func:`~ardae_rl.world_models.environments.make_repeating`.
    :param n_envs: Number of environments that each process plays at once.
    :param n_workers: Number of single-threaded worker processes; 0 to play in this process.
    :param patience: See :class:`~ardae_rl.world_models.evolution.RolloutEvaluator`.
    """
    make = partial(RolloutEvaluator, make_env, policy, n_envs, patience)
    return ProcessEvaluator(make, n_workers) if n_workers else make()


def make_dream_evaluator(dream: Dream, max_steps: int, n_workers: int = 0) -> Evaluator:
    """Return an evaluator that plays controllers in a dream.

    :param max_steps: Number of steps after which an episode is truncated.
    :param n_workers: Number of single-threaded worker processes; 0 to play in this process.
    """
    make = partial(DreamEvaluator, dream, max_steps)
    return ProcessEvaluator(make, n_workers) if n_workers else make()


def dream_starts(latents: LatentStore) -> tuple[th.Tensor, th.Tensor]:
    """Return the posteriors of the first frames of all episodes: means and log standard deviations, (n, z_dim) each.

    Dreams begin where real episodes begin, because the memory's initial state of zero is correct only there.
    """
    firsts = [(mean[0], log_std[0]) for mean, log_std in (latents[number] for number in range(len(latents)))]
    mean, log_std = (th.from_numpy(np.array(part, dtype=np.float32)) for part in zip(*firsts, strict=True))
    return mean, log_std
