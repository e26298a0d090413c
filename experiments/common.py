"""What the benchmarks share: folders, and the algorithms that they compare."""

import copy
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl import registry
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, print_table, read_csv

RESULTS = Path(__file__).parent / "results"  # committed
RUNS = Path("runs")  # models and logs; ignored by git

ALGORITHMS = ("sac", "sac_ardae")  # what the comparisons compare, by the names of `ardae_rl.registry`
LABELS = {"sac": "SAC (SB3)", "sac_ardae": "SAC-AR-DAE"}
COLOURS = {"sac": "#c0562b", "sac_ardae": "#23629f"}


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


def check_names(parser: ArgumentParser, option: str, names: str, accepted: Collection[str]) -> list[str]:
    """Names separated by commas; ends the command if one is not accepted."""
    for name in names.split(","):
        if name not in accepted:
            parser.error(f"{option} {name}: accepted are {', '.join(accepted)}")
    return names.split(",")


def run_folder(benchmark: str, settings: dict[str, Any]) -> Path:
    """Where a run works and leaves its row.csv."""
    return RUNS / benchmark / str(settings["name"]).replace(" ", "_")


def table_of_runs(
    run: Callable[[dict[str, Any], Run], str],
    folder: Callable[[dict[str, Any]], Path],
    runs: Sequence[dict[str, Any]],
    jobs: int,
    table: Path,
    key: Sequence[str],
    shown: Sequence[str],
) -> list[dict[str, Any]]:
    """Make the runs that are missing; their rows go into the table, and on the screen.

    :param run: makes a run, and leaves row.csv in its folder
    :param folder: of a run
    :param jobs: one-thread processes
    :param table: CSV, in which rows that agree in all of ``key`` are replaced
    :param shown: columns on the screen
    :return: settings of the runs that are finished
    """
    done = run_missing(run, folder, runs, processes(jobs))
    rows = [row for settings in done for row in read_csv(folder(settings) / "row.csv")]
    if rows:
        merge_csv(table, rows, key)
        print_table([{name: row[name] for name in shown} for row in rows], table.stem)
    if len(done) < len(runs):
        raise SystemExit(f"{len(runs) - len(done)} of {len(runs)} runs failed; the same command goes on with them")
    return done
