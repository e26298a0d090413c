"""The grid of a benchmark: which runs there are, where they lie, and who makes them."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.grid.suites import SUITES, grid
from ardae_rl.grid.training import EVALUATIONS, train
from ardae_rl.registry import folder_name
from ardae_rl.runs.cluster import ray_workers
from ardae_rl.runs.jobs import failure, finished, processes, run_missing
from ardae_rl.runs.tables import Row, read_csv


def benchmark(
    suite: str,
    algos: Sequence[str],
    envs: Sequence[str] | None = None,
    *,
    n_seeds: int,
    steps: int,
    eval_freq: int,
    eval_episodes: int,
    jobs: int,
    out: Path,
    ray: bool = False,
    gpus: float = 0,
) -> list[Row]:
    """Make the missing runs of a grid, and return one row per run, with its state and last return.

    :param suite: Name in ``SUITES``.
    :param algos: Names in ``VARIANTS``.
    :param envs: Ids of environments to use instead of the suite's.
    :param n_seeds: Number of seeds: 0, 1, ...
    :param steps: Environment steps per run, a multiple of ``eval_freq``.
    :param eval_freq: Environment steps between evaluations.
    :param eval_episodes: Episodes per evaluation.
    :param jobs: Number of processes with one thread each; not used with ``ray``.
    :param out: Folder of the runs. Each works in ``<env>/<algo>_<seed>`` there.
    :param ray: Whether Ray schedules the runs.
    :param gpus: GPUs per run, with Ray.
    :raises ValueError: For an unknown name, a number out of range, and if ``out`` has runs of other settings.
    :raises ImportError: If an extra is missing.
    """
    check_choice("suite", suite, tuple(SUITES))
    check_count("jobs", jobs)
    runs = grid(envs or SUITES[suite], algos, n_seeds, steps, eval_freq, eval_episodes)
    for settings in runs:
        _check_not_other(run_folder(out, settings), settings)
    workers = ray_workers(gpus=gpus) if ray else processes(jobs)
    run_missing(train, lambda settings: run_folder(out, settings), runs, workers)
    return [_state(settings, run_folder(out, settings)) for settings in runs]


def run_folder(out: Path, settings: dict[str, Any]) -> Path:
    """Return the folder that a run works in."""
    return out / folder_name(settings["env"]).replace(":", "-") / f"{settings['algo']}_{settings['seed']}"


def _check_not_other(folder: Path, settings: dict[str, Any]) -> None:
    """Finished runs took hours: they are never replaced without being asked for."""
    path = folder / "finished.json"
    if path.exists() and not finished(folder, settings):
        there = json.loads(path.read_text())
        differing = [name for name in settings if there.get(name) != json.loads(json.dumps(settings[name]))]
        raise ValueError(
            f"`out` must not have finished runs of other settings, got {folder}, where these differ: "
            f"{', '.join(differing)}"
        )


def _state(settings: dict[str, Any], folder: Path) -> Row:
    row = {name: settings[name] for name in ("env", "algo", "seed")}
    evaluations = read_csv(folder / EVALUATIONS)
    row |= {name: evaluations[-1][name] if evaluations else "" for name in ("step", "mean_return")}
    if finished(folder, settings):
        return row | {"state": "finished"}
    reason = failure(folder)
    return row | {"state": "missing" if reason is None else f"failed: {reason.strip().splitlines()[-1]}"}


def finished_runs(out: Path) -> list[tuple[dict[str, Any], Path]]:
    """Settings and folders of the runs that are whole."""
    return [(json.loads(path.read_text()), path.parent) for path in sorted(out.glob("*/*/finished.json"))]


def failed_runs(out: Path) -> Iterable[tuple[dict[str, Any], str]]:
    """Settings and reasons of the runs whose last attempt failed."""
    for path in sorted(out.glob("*/*/settings.json")):
        reason = failure(path.parent)
        if reason is not None:
            yield json.loads(path.read_text()), reason.strip().splitlines()[-1]
