"""The loop over generations: evaluate candidates on common seeds and, at intervals, the mean on held-out seeds."""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.checks import check_count
from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.world_models.evolution.cma import CMAES
from ardae_rl.world_models.evolution.evaluator import Evaluator, Returns, standard_error
from ardae_rl.world_models.seeds import HELD_OUT_SEEDS, TRAINING_SEEDS


class Evolution:
    """Record of an evolution: returned by :func:`evolve`, passed to its callback and saved in checkpoints.

    ``rows`` has a row 0 for the initial mean and one row for each generation, with NaN for values that were not
    measured:

    - ``generation``, ``sigma``;
    - ``mean_fitness`` and ``max_fitness`` of the candidates, and ``given_up``, the fraction of their episodes that the
      evaluator's patience ended;
    - ``held_out_mean`` and ``held_out_error``: return of the distribution's mean on the held-out seeds, with its
      standard error;
    - ``n_steps`` and ``n_held_out_steps``: cumulative environment steps of the candidates and of the means.

    ``best_mean``, (n_parameters,), is the mean with the highest held-out return, ``best_return``. As the maximum of
    several evaluations, this return is biased upwards.

    Example:

    >>> from ardae_rl.world_models.evolution import Evolution
    >>> evolution = Evolution()
    >>> evolution.rows, evolution.best_return
    ([], -inf)
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.best_mean: NDArray[np.float64] | None = None
        self.best_return = -math.inf

    def state_dict(self) -> dict[str, Any]:
        best = None if self.best_mean is None else th.from_numpy(self.best_mean)
        return {"rows": list(self.rows), "best_mean": best, "best_return": self.best_return}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = state_dict["best_mean"]
        self.rows = list(state_dict["rows"])
        self.best_mean = None if best is None else best.numpy().copy()
        self.best_return = state_dict["best_return"]

    def add(self, es: CMAES, candidates: Returns | None, held_out: Returns | None) -> None:
        """Add the row of a generation.

        :param es: The distribution after the generation.
        :param candidates: Results of the candidates, if there were any.
        :param held_out: Results of the mean on the held-out seeds, if it was evaluated.
        """
        row = {"generation": float(es.generation), "sigma": es.sigma}
        row |= dict.fromkeys(("mean_fitness", "max_fitness", "held_out_mean", "held_out_error", "given_up"), math.nan)
        for name in ("n_steps", "n_held_out_steps"):
            row[name] = self.rows[-1][name] if self.rows else 0.0
        if candidates is not None:
            finite = candidates.fitness[np.isfinite(candidates.fitness)]
            row["n_steps"] += candidates.n_steps
            row |= {"mean_fitness": float(finite.mean()), "max_fitness": float(finite.max())}
            row["given_up"] = float(candidates.given_up.mean())
        self.rows.append(row)
        if held_out is not None:
            self.add_held_out(es, held_out)

    def add_held_out(self, es: CMAES, held_out: Returns) -> None:
        """Add an evaluation of the mean to the last row.

        :param held_out: Results of the mean on the held-out seeds.
        """
        row, returns = self.rows[-1], held_out.returns[0]
        row["n_held_out_steps"] += held_out.n_steps
        row["held_out_mean"] = float(returns.mean())
        row["held_out_error"] = standard_error(returns)
        if row["held_out_mean"] > self.best_return:
            self.best_mean, self.best_return = es.mean, row["held_out_mean"]


def evolve(
    es: CMAES,
    evaluator: Evaluator,
    n_generations: int | None,
    *,
    seeds_per_generation: int = 4,
    seed: int = 0,
    evaluate_every: int = 10,
    held_out_seeds: Sequence[int] = HELD_OUT_SEEDS[:16],
    run: Run | None = None,
    checkpoint: str = "evolution",
    callback: Callable[[Evolution, CMAES], bool | None] | None = None,
) -> Evolution:
    """Evolve parameters to maximize the mean return.

    All candidates of a generation play the same episodes, and each generation plays new ones. The distribution's mean
    is evaluated on held-out episodes, because the return of the best candidate is biased by selection.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import CMAES, Episodes, Evaluator, evolve
    >>> class Sphere(Evaluator):
    ...     def play(self, parameters, seeds, give_up=True):
    ...         n = len(seeds)
    ...         return Episodes(-(parameters**2).sum(1), np.ones(n, int), np.zeros(n, bool))
    >>> es = CMAES(mean=np.ones(3), sigma=0.5, population_size=8, seed=0)
    >>> evolution = evolve(es, Sphere(), n_generations=30)
    >>> evolution.best_return > -0.1
    True

    :param es: Initial distribution; its state is replaced when a checkpoint is resumed.
    :param evaluator: Plays the episodes. Its patience applies to those of the candidates, not to the held-out ones.
    :param n_generations: Total number of generations, including those before an interruption; None to continue until
        the callback returns False.
    :param seeds_per_generation: Number of episodes of each candidate, with seeds from
        :data:`~ardae_rl.world_models.evolution.TRAINING_SEEDS`.
    :param seed: Seed from which these seeds are drawn.
    :param evaluate_every: Number of generations between two evaluations of the mean. The initial and the last mean are
        evaluated too.
    :param held_out_seeds: Seeds of these evaluations.
    :param run: Run that saves a checkpoint after each generation and resumes from it; None for no checkpoints.
    :param checkpoint: Name of the checkpoint.
    :param callback: Called after each generation; the evolution ends when it returns False.
    :raises ValueError: For a number below 1, or held-out seeds that are among the training seeds.
    """
    counts = {
        "n_generations": 1 if n_generations is None else n_generations,
        "seeds_per_generation": seeds_per_generation,
        "evaluate_every": evaluate_every,
    }
    for name, value in counts.items():
        check_count(name, value)
    if len(held_out_seeds) == 0 or min(held_out_seeds) < 0 or max(held_out_seeds) >= TRAINING_SEEDS.start:
        raise ValueError(f"`held_out_seeds` must be from 0 to {TRAINING_SEEDS.start - 1}, got {held_out_seeds!r}")
    evolution = Evolution()

    def held_out() -> Returns:
        return evaluator.evaluate(es.mean[None], held_out_seeds, give_up=False)

    parts: dict[str, Stateful] = {"es": es, "evolution": evolution}
    last = sys.maxsize if n_generations is None else n_generations
    generations = range(last) if run is None else run.steps(last, parts, checkpoint=checkpoint, every=1)
    for generation in generations:
        if generation == 0:
            evolution.add(es, None, held_out())
        candidates = es.ask()
        played = evaluator.evaluate(candidates, _seeds(seed, generation, seeds_per_generation))
        es.tell(candidates, played.fitness)
        due = (generation + 1) % evaluate_every == 0 or generation + 1 == last
        evolution.add(es, played, held_out() if due else None)
        if callback is not None and callback(evolution, es) is False:
            if not due:
                evolution.add_held_out(es, held_out())
            break
    return evolution


def _seeds(seed: int, generation: int, n: int) -> list[int]:
    """Return the episode seeds of a generation, which do not depend on earlier draws."""
    rng = np.random.default_rng([seed, generation])
    return rng.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop, n).tolist()
