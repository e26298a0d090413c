"""What the benchmarks share: the algorithm table, versions, result files, worker processes."""

import copy
import csv
import json
import multiprocessing
import sys
import traceback
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

import ardae_rl
from ardae_rl import registry

RESULTS = Path(__file__).parent / "results"  # committed
RUNS = Path("runs")  # models and logs; ignored by git

ALGORITHMS = ("sac", "sac_ardae")  # what the comparisons compare, by the names of `ardae_rl.registry`
LABELS = {"sac": "SAC (SB3)", "sac_ardae": "SAC-AR-DAE"}
COLOURS = {"sac": "#c0562b", "sac_ardae": "#23629f"}

Row = Mapping[str, Any]


def make_model(name: str, env: str | gym.Env[Any, Any], **arguments: Any) -> OffPolicyAlgorithm:
    """A model with an MLP policy, on the CPU unless told otherwise."""
    cls: Any = registry.algorithm_class(name)
    # Copied because SB3 adds entries to the policy_kwargs that it is given, and the caller's are recorded.
    model: OffPolicyAlgorithm = cls("MlpPolicy", env, **{"device": "cpu"} | copy.deepcopy(arguments))
    return model


def algorithm_names(text: str) -> list[str]:
    """Split "sac,sac_ardae" and check each name (the type of an argparse option)."""
    names = text.split(",")
    for name in names:
        if name not in ALGORITHMS:  # argparse would show a ValueError without its text
            raise ArgumentTypeError(f"{name!r}: accepted are {', '.join(ALGORITHMS)}, separated by commas")
    return names


def versions() -> dict[str, str]:
    """The versions that a result depends on, as CSV columns."""
    return {
        "torch": th.__version__,
        "sb3": version("stable_baselines3"),
        "gymnasium": version("gymnasium"),
        "ardae_rl": ardae_rl.__version__,
    }


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a result file, or none if there is no such file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def merge_csv(path: Path, rows: Sequence[Row], key: Iterable[str]) -> None:
    """Add rows to a result file, in place of the rows there that agree in all of `key`.

    A repeated run thus replaces its own rows and leaves all others; raise ValueError if the columns differ.
    """
    key = tuple(key)
    old = read_csv(path)
    if old and list(old[0]) != list(rows[0]):
        raise ValueError(f"{path} has the columns {list(old[0])}, the new rows {list(rows[0])}: move it away first")
    replaced = {tuple(str(row[k]) for k in key) for row in rows}
    kept = [row for row in old if tuple(row[k] for k in key) not in replaced]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])
    temporary.replace(path)  # an interrupted benchmark leaves the old file, not half a one


def finished(folder: Path, settings: Row) -> bool:
    """Whether the run in this folder ended and was made with these settings (see `mark_finished`)."""
    done = folder / "finished.json"
    return done.exists() and json.loads(done.read_text()) == json.loads(json.dumps(settings))


def mark_finished(folder: Path, settings: Row) -> None:
    """Record that the run in this folder is complete; call it last."""
    (folder / "finished.json").write_text(json.dumps(settings, indent=2) + "\n")


def run_missing(
    function: Callable[[dict[str, Any]], str],
    folder: Callable[[dict[str, Any]], Path],
    runs: Sequence[dict[str, Any]],
    jobs: int,
) -> list[dict[str, Any]]:
    """Make the runs whose folder does not have them yet, so that an interrupted benchmark continues.

    :param function: makes the run of the given settings, and says in a line what came of it
    :param folder: where it does so
    :param runs: settings
    :param jobs: one-thread processes
    :return: those of ``runs`` that are finished now; fewer than ``runs`` if some have failed
    """
    missing = [settings for settings in runs if not finished(folder(settings), settings)]
    print(f"{len(runs)} runs, {len(runs) - len(missing)} of them finished before", flush=True)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=th.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(function, settings): settings for settings in missing}
        for future in as_completed(futures):
            try:
                print(future.result(), flush=True)
            except Exception:  # one failure does not stop the others
                print(f"failed: {futures[future]}\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return [settings for settings in runs if finished(folder(settings), settings)]
