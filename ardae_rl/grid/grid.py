"""The grid of a benchmark: its runs, their folders and their outcomes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ardae_rl.common.checks import check_choice, check_count, check_min
from ardae_rl.grid.environment import check_environment
from ardae_rl.grid.suites import SUITES, grid
from ardae_rl.grid.training import EVALUATIONS, train
from ardae_rl.registry import folder_name
from ardae_rl.runs.cluster import ray_workers
from ardae_rl.runs.files import read_json
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run_folder import failure, is_finished
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
    """Complete the missing runs of a grid, and return one row per run, with its state and last return.

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
    :raises ValueError: For an unknown name, a number out of range, and if ``out`` has runs with other settings.
    :raises ImportError: If an extra is missing.
    """
    check_choice("suite", suite, tuple(SUITES))
    check_count("jobs", jobs)
    check_min("gpus", gpus, 0)
    if gpus and not ray:
        raise ValueError(f"`gpus` must be 0 without `ray`, got {gpus:g}")
    envs = SUITES[suite] if envs is None else envs
    runs = grid(envs, algos, n_seeds, steps, eval_freq, eval_episodes)
    for env in envs:
        check_environment(env)
    workers = ray_workers(gpus=gpus) if ray else processes(jobs)
    run_missing(train, lambda settings: run_folder(out, settings), runs, workers)
    return [_state(settings, run_folder(out, settings)) for settings in runs]


def run_folder(out: Path, settings: dict[str, Any]) -> Path:
    """Return the folder that a run works in."""
    return out / folder_name(settings["env"]).replace(":", "-") / f"{settings['algo']}_{settings['seed']}"


def _state(settings: dict[str, Any], folder: Path) -> Row:
    row = {name: settings[name] for name in ("env", "algo", "seed")}
    evaluations = read_csv(folder / EVALUATIONS)
    row |= {name: evaluations[-1][name] if evaluations else "" for name in ("step", "mean_return")}
    if is_finished(folder, settings):
        return row | {"state": "finished"}
    reason = failure(folder)
    return row | {"state": "missing" if reason is None else f"failed: {reason.strip().splitlines()[-1]}"}


def finished_runs(out: Path) -> list[tuple[dict[str, Any], Path]]:
    """Return settings and folders of the finished runs."""
    records = ((read_json(path), path.parent) for path in sorted(out.glob("*/*/finished.json")))
    return [(settings, folder) for settings, folder in records if settings is not None]


def failed_runs(out: Path) -> Iterable[tuple[dict[str, Any], str]]:
    """Yield settings and reasons of the runs whose last attempt failed."""
    for path in sorted(out.glob("*/*/settings.json")):
        settings, reason = read_json(path), failure(path.parent)
        if settings is not None and reason is not None:
            yield settings, reason.strip().splitlines()[-1]
