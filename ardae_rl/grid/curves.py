"""The learning curves of a benchmark's runs, and scores that are comparable across environments."""

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
    """The evaluations of one run.

    Example:

    >>> import numpy as np
    >>> from ardae_rl.grid.curves import Curve, normalized_scores
    >>> steps = np.array([10.0, 20.0])
    >>> low = Curve("Pendulum-v1", "sac", 0, steps, np.array([-4.0, -2.0]), steps, steps, {})
    >>> high = low._replace(algo="tqc", returns=np.array([-3.0, 0.0]))
    >>> {algo: scores["Pendulum-v1"].tolist() for algo, scores in normalized_scores([low, high]).items()}
    {'sac': [0.5], 'tqc': [1.0]}

    :param env: Id of the environment.
    :param algo: Name of the algorithm.
    :param seed: Seed of the run.
    :param steps: Environment steps, of shape (n,).
    :param returns: Mean returns, of shape (n,).
    :param wall_seconds: Training time in seconds, of shape (n,).
    :param cpu_seconds: Processor time of the training in seconds, of shape (n,); the training time if a run of an
        earlier version did not record it.
    :param metrics: What the algorithm logged in the last segment of the training.
    """

    env: str
    algo: str
    seed: int
    steps: Array
    returns: Array
    wall_seconds: Array
    cpu_seconds: Array
    metrics: dict[str, str]


def read_curves(out: Path, steps: int | None = None) -> list[Curve]:
    """Return the curves of a folder's finished runs.

    :param out: Folder of the runs.
    :param steps: Environment steps after which a curve is cut off. None keeps it whole.
    :raises ValueError: If there are no finished runs, or a run's first evaluation is later than ``steps``.
    """
    curves = []
    for settings, folder in finished_runs(out):
        rows, metrics = (_until(steps, read_csv(folder / name), folder) for name in (EVALUATIONS, METRICS))
        at, returns, wall, cpu = (
            np.array([float(row.get(name, row["wall_seconds"])) for row in rows])
            for name in ("step", "mean_return", "wall_seconds", "cpu_seconds")
        )
        curves.append(Curve(settings["env"], settings["algo"], settings["seed"], at, returns, wall, cpu, metrics[-1]))
    if not curves:
        raise ValueError(f"`out` must have finished runs of `ardae-rl benchmark`, got {out}, which has none")
    return curves


def _until(steps: int | None, rows: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    if steps is not None and int(rows[0]["step"]) > steps:
        raise ValueError(f"`steps` must be >= {rows[0]['step']}, the first evaluation of {folder}, got {steps}")
    return [row for row in rows if steps is None or int(row["step"]) <= steps]


def check_same_steps(curves: Sequence[Curve]) -> None:
    """Check that the curves of an environment have the same steps, so that last values and means can be compared.

    :raises ValueError: If they do not.
    """
    for env in names(curves)[0]:
        ends = sorted({int(c.steps[-1]) for c in curves if c.env == env})
        if len(ends) > 1:
            raise ValueError(
                f"`steps` must be a step at which all runs of {env} were evaluated, got curves that end at different "
                f"steps: {', '.join(map(str, ends))}"
            )
        first, *others = dict.fromkeys(tuple(c.steps.astype(int).tolist()) for c in curves if c.env == env)
        if others:
            raise ValueError(
                f"`out` and `beside` must have runs evaluated at the same steps, got for {env} {_short(first)} and "
                f"{_short(others[0])}"
            )


def _short(steps: tuple[int, ...]) -> str:
    return f"{len(steps)} evaluations ({', '.join(map(str, steps[:2]))}, ...)"


def names(curves: Sequence[Curve]) -> tuple[list[str], list[str]]:
    """Return the environments in the order of the curves, and the algorithms in alphabetical order."""
    return list(dict.fromkeys(c.env for c in curves)), sorted({c.algo for c in curves})


def normalized_scores(curves: Sequence[Curve]) -> dict[str, dict[str, Array]]:
    """Return final returns by algorithm and environment, each of shape (seeds,).

    In each environment, 0 is the worst evaluation of any run, and 1 the best.
    """
    scores: dict[str, dict[str, Array]] = {}
    envs, algos = names(curves)
    for env in envs:
        all_returns = np.concatenate([c.returns for c in curves if c.env == env])
        low, range_ = all_returns.min(), max(np.ptp(all_returns), 1e-12)
        for algo in algos:
            finals = [(c.returns[-1] - low) / range_ for c in curves if (c.env, c.algo) == (env, algo)]
            if finals:
                scores.setdefault(algo, {})[env] = np.array(finals)
    return scores
