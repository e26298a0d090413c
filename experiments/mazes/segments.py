"""A training in segments, each followed by an evaluation and a checkpoint, so that an interrupted one resumes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ardae_rl.grid import checkpoint
from ardae_rl.grid.segment import start_segment
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.files import read_json, write_json
from ardae_rl.runs.run import Run
from experiments.mazes.training import BehaviorGoals, fill_buffer

_ROWS = "rows.json"  # of a finished training


class Segment(NamedTuple):
    """A finished segment of a training."""

    model: OffPolicyAlgorithm
    behavior: list[int]  # goals of its training episodes
    seconds: float  # CPU time of all segments so far, without evaluations
    rows: list[dict[str, Any]]  # of all segments before; the caller appends this segment's


def segments(
    run: Run,
    algorithm: str,
    new: Callable[[], OffPolicyAlgorithm],
    envs: VecEnv,
    n_steps: int,
    every: int,
    seed: int,
    explore: float = 0.0,
    finished: Callable[[list[dict[str, Any]]], bool] = lambda rows: False,
) -> Iterator[Segment]:
    """Train, and yield after every segment; the rows are saved with the model before the next one.

    A finished training, whose rows :func:`finished_rows` returns, yields nothing.

    Each segment begins with reset environments and a seed of its own, so that an interrupted training, which resumes
    from its last checkpoint, ends with the same numbers as an uninterrupted one.

    :param run: The run.
    :param algorithm: Name of the algorithm in the registry.
    :param new: Returns the model to start with.
    :param envs: Environments for training.
    :param n_steps: Number of environment steps at which the training ends, including those of the model from ``new``.
    :param every: Number of environment steps of a segment.
    :param seed: Seed of the training.
    :param explore: Share of a segment's environment steps, at its beginning, that have randomly held actions.
    :param finished: Whether the training ends early, given the rows after a segment.
    """
    if not (run.folder / _ROWS).exists():
        model, rows = _resumed(run, algorithm, envs) or (new(), [])
        while model.num_timesteps < n_steps and not finished(rows):
            segment_seed = start_segment(model, seed)
            watch = BehaviorGoals(lambda done: run.report(done, n_steps))
            begin, end = time.process_time(), min(model.num_timesteps + every, n_steps)
            n_random = int(explore * (end - model.num_timesteps))
            if n_random:
                fill_buffer(model, model.num_timesteps + n_random, segment_seed)
            model.learn(end - model.num_timesteps, watch, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
            seconds = time.process_time() - begin + sum(float(row["cpu_seconds"]) for row in rows[-1:])
            yield Segment(model, watch.goals, seconds, rows)
            checkpoint.save(model, rows, run.folder)
        model.save(run.folder / "model")
        write_json(run.folder / _ROWS, rows)  # last: from now on no checkpoint is needed
    for path in checkpoint.checkpoints(run.folder):
        checkpoint.delete(path)


def finished_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a finished training."""
    rows: list[dict[str, Any]] = read_json(folder / _ROWS)
    return rows


def _resumed(run: Run, algorithm: str, envs: VecEnv) -> tuple[OffPolicyAlgorithm, Any] | None:
    """Return model and rows of the last checkpoint, if there is one."""
    found = checkpoint.checkpoints(run.folder)
    if not found:
        return None
    cls: Any = algorithm_class(algorithm)
    return checkpoint.load(cls, envs, found[-1], "cpu")
