"""The curves of a benchmark's runs, and scores that can be compared over environments."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ardae_rl.grid.grid import finished_runs
from ardae_rl.grid.training import EVALUATIONS, METRICS
from ardae_rl.runs.tables import read_csv

Array = NDArray[np.float64]


class Curve(NamedTuple):
    """One run's evaluations."""

    env: str
    algo: str
    seed: int
    steps: Array
    returns: Array
    wall_seconds: Array
    metrics: dict[str, str]  # as the last segment logged them


def read_curves(out: Path) -> list[Curve]:
    """The finished runs of a folder.

    :raises ValueError: if there are none
    """
    curves = []
    for settings, folder in finished_runs(out):
        rows = read_csv(folder / EVALUATIONS)
        steps, returns, seconds = (
            np.array([float(row[name]) for row in rows]) for name in ("step", "mean_return", "wall_seconds")
        )
        metrics = read_csv(folder / METRICS)[-1]
        curves.append(Curve(settings["env"], settings["algo"], settings["seed"], steps, returns, seconds, metrics))
    if not curves:
        raise ValueError(f"`out` must have finished runs of `ardae-rl benchmark`, got {out}, which has none")
    return curves


def names(curves: Sequence[Curve]) -> tuple[list[str], list[str]]:
    """Environments in the order of the curves, and algorithms by the alphabet."""
    return list(dict.fromkeys(c.env for c in curves)), sorted({c.algo for c in curves})


def normalised_scores(curves: Sequence[Curve]) -> dict[str, dict[str, Array]]:
    """Final returns by algorithm and environment, (seeds,): 0 is the worst evaluation of any run there, 1 the best."""
    scores: dict[str, dict[str, Array]] = {}
    envs, algos = names(curves)
    for env in envs:
        every = np.concatenate([c.returns for c in curves if c.env == env])
        low, range_ = every.min(), max(np.ptp(every), 1e-12)
        for algo in algos:
            finals = [(c.returns[-1] - low) / range_ for c in curves if (c.env, c.algo) == (env, algo)]
            if finals:
                scores.setdefault(algo, {})[env] = np.array(finals)
    return scores
