"""How the runs of a report were made: what must agree between them, and what may differ but is reported."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ardae_rl.grid.environment import recorded_engine
from ardae_rl.grid.grid import finished_runs
from ardae_rl.grid.training import EVALUATIONS
from ardae_rl.runs.tables import read_csv, versions

_ARGUMENTS = ("learning_starts", "buffer_size")


class Protocol(NamedTuple):
    """How one run was made.

    :param env: Id of the environment.
    :param algo: Name of the algorithm.
    :param eval_episodes: Episodes per evaluation.
    :param facts: What may differ, by name: arguments that all algorithms have, and versions of packages.
    """

    env: str
    algo: str
    eval_episodes: int
    facts: dict[str, str]


def read_protocols(folders: Mapping[str, Path]) -> list[Protocol]:
    """Return the protocols of the finished runs.

    :param folders: Folders of benchmarks, by the suffix that their algorithms' names get, such as " (before)".
    """
    return [
        Protocol(settings["env"], settings["algo"] + suffix, settings["eval_episodes"], _facts(settings, folder))
        for suffix, out in folders.items()
        for settings, folder in finished_runs(out)
    ]


def _facts(settings: dict[str, Any], folder: Path) -> dict[str, str]:
    last = read_csv(folder / EVALUATIONS)[-1]
    arguments = {name: str(settings["arguments"].get(name, "")) for name in _ARGUMENTS}
    return arguments | {name: last.get(name, "") for name in versions()} | recorded_engine(folder)


def check_same_evaluations(protocols: Iterable[Protocol]) -> None:
    """Check that the runs of an environment were evaluated with the same number of episodes.

    :raises ValueError: If they were not.
    """
    for env, runs in _by_env(protocols).items():
        counts = sorted({run.eval_episodes for run in runs})
        if len(counts) > 1:
            raise ValueError(
                f"`out` and `beside` must have runs evaluated with the same number of episodes, got for {env} "
                f"{' and '.join(map(str, counts))}"
            )


def differences(protocols: Iterable[Protocol]) -> list[str]:
    """Return a line for each fact that differs between the runs of an environment."""
    lines = []
    for env, runs in _by_env(protocols).items():
        for name in dict.fromkeys(name for run in runs for name in run.facts):
            algos: dict[str, set[str]] = {}
            for run in runs:
                algos.setdefault(run.facts.get(name) or "unknown", set()).add(run.algo)
            if len(algos) > 1:
                values = "; ".join(f"{value}: {', '.join(sorted(names))}" for value, names in sorted(algos.items()))
                lines.append(f"{env}, runs that differ in {name} ({values})")
    return lines


def _by_env(protocols: Iterable[Protocol]) -> dict[str, list[Protocol]]:
    groups: dict[str, list[Protocol]] = {}
    for protocol in protocols:
        groups.setdefault(protocol.env, []).append(protocol)
    return groups
