"""The loop over generations: candidates on common seeds, and now and then the mean on held-out ones."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.checks import check_positive
from ardae_rl.common.training import Stateful
from ardae_rl.world_models.evolution.base import Evaluator, Returns
from ardae_rl.world_models.evolution.cma import CMAES

TRAINING_SEEDS = range(2**20, 2**31)
"""Where generations take their seeds from; those below are for evaluations."""


class Steps(Protocol):
    """Of :class:`ardae_rl.runs.run.Run`, what makes a loop survive an interruption."""

    def steps(
        self, n: int, parts: Mapping[str, Stateful], *, checkpoint: str = "checkpoint", every: int = 1000
    ) -> Iterable[int]:
        """0, ..., n - 1, or what is left of them, with the parts saved between them."""


class Evolution:
    """How an evolution went so far: what :func:`evolve` returns, hands to its callback and keeps in checkpoints.

    ``rows`` has one row a generation, after a row 0 for the first mean, with NaN for what was not measured:

    - ``generation``, ``sigma``;
    - ``mean_fitness``, ``max_fitness`` of the candidates, and ``given_up``, the share of their episodes;
    - ``held_out_mean``, ``held_out_error``: return of the distribution's mean on the held-out seeds, and its standard
      error;
    - ``n_steps``, ``n_held_out_steps``: environment steps since the beginning, of the candidates and of the means.

    ``best_mean``, (n_parameters,), is the mean with the greatest held-out return, ``best_return``, which is above what
    it will get elsewhere, as the greatest of several.
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
        """Write down a generation: how its candidates did, and the mean after it, as far as they were evaluated."""
        row = {"generation": float(es.generation), "sigma": es.sigma}
        row |= dict.fromkeys(("mean_fitness", "max_fitness", "held_out_mean", "held_out_error", "given_up"), math.nan)
        for name, played in (("n_steps", candidates), ("n_held_out_steps", held_out)):
            row[name] = (self.rows[-1][name] if self.rows else 0.0) + (0 if played is None else played.n_steps)
        if candidates is not None:
            finite = candidates.fitness[np.isfinite(candidates.fitness)]
            row |= {"mean_fitness": float(finite.mean()), "max_fitness": float(finite.max())}
            row["given_up"] = float(candidates.given_up[candidates.lengths > 0].mean())
        if held_out is not None:
            returns = held_out.returns[0]
            row["held_out_mean"] = float(returns.mean())
            row["held_out_error"] = (
                float(returns.std(ddof=1) / math.sqrt(len(returns))) if len(returns) > 1 else math.nan
            )
            if row["held_out_mean"] > self.best_return:
                self.best_mean, self.best_return = es.mean, row["held_out_mean"]
        self.rows.append(row)


def evolve(
    es: CMAES,
    evaluator: Evaluator,
    n_generations: int | None,
    *,
    seeds_per_generation: int = 4,
    seed: int = 0,
    evaluate_every: int = 10,
    held_out_seeds: Sequence[int] = range(16),
    racing: bool = False,
    run: Steps | None = None,
    checkpoint: str = "evolution",
    callback: Callable[[Evolution, CMAES], bool | None] | None = None,
) -> Evolution:
    """Evolve parameters for the greatest mean return.

    All candidates of a generation play the same episodes, and each generation others. What counts in the end is the
    mean of the distribution on episodes that no generation plays: the best candidate's return is that of a lucky one.

    :param es: the distribution, as it is made: a checkpoint's state replaces it
    :param evaluator: plays the episodes; its patience ends those of the candidates, never the held-out ones
    :param n_generations: in all, those before an interruption included
    :param seeds_per_generation: episodes of each candidate, with seeds from :data:`TRAINING_SEEDS`
    :param seed: of these seeds
    :param evaluate_every: generations between evaluations of the mean; the first and the last mean are evaluated, too
    :param held_out_seeds: what they are evaluated on
    :param racing: whether the worse half of a generation plays its first episode alone
    :param run: saves a checkpoint after each generation, and goes on from one; None for no checkpoints
    :param checkpoint: the file's name
    :param callback: called after each generation; the evolution ends if it returns False
    :raises ValueError: for numbers below 1 and held-out seeds that generations could play
    """
    counts = {
        "n_generations": 1 if n_generations is None else n_generations,
        "seeds_per_generation": seeds_per_generation,
        "evaluate_every": evaluate_every,
    }
    for name, value in counts.items():
        check_positive(name, value)
    if len(held_out_seeds) == 0 or min(held_out_seeds) < 0 or max(held_out_seeds) >= TRAINING_SEEDS.start:
        raise ValueError(f"held_out_seeds={held_out_seeds!r}: accepted are seeds from 0 to {TRAINING_SEEDS.start - 1}")
    evolution = Evolution()
    play = evaluator.evaluate_racing if racing else evaluator.evaluate

    def held_out() -> Returns:
        return evaluator.evaluate(es.mean[None], held_out_seeds, give_up=False)

    parts: dict[str, Stateful] = {"es": es, "evolution": evolution}
    last = sys.maxsize if n_generations is None else n_generations
    generations = range(last) if run is None else run.steps(last, parts, checkpoint=checkpoint, every=1)
    for generation in generations:
        if generation == 0:
            evolution.add(es, None, held_out())
        candidates = es.ask()
        played = play(candidates, _seeds(seed, generation, seeds_per_generation))
        es.tell(candidates, played.fitness)
        due = (generation + 1) % evaluate_every == 0 or generation + 1 == last
        evolution.add(es, played, held_out() if due else None)
        if callback is not None and callback(evolution, es) is False:
            break
    return evolution


def _seeds(seed: int, generation: int, n: int) -> list[int]:
    """A generation's own, whatever was drawn before it."""
    rng = np.random.default_rng([seed, generation])
    return rng.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop, n).tolist()
