"""Small versions of the long commands, and how the checks run them."""

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SMALL_WORLD_MODEL = [
    *("--set", "n_episodes=2", "--set", "n_envs=2", "--set", "vision_kwargs={n_steps: 30}"),
    *("--set", "memory_kwargs={n_steps: 30, sequence_length: 5}"),
    *("--set", "search_kwargs={population_size: 3, seeds_per_generation: 1, n_held_out: 1, n_generations: 2}"),
    *("--set", "policy_kwargs={z_dim: 4, vision_width: 4, memory_hidden: 8}", "--set", "search=dream"),
]
# Arguments of ``python -m``, and the tables whose numbers are compared
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "benchmark": (
        [
            *("ardae_rl", "benchmark", "--algos", "sac_nf", "--envs", "Pendulum-v1", "--seeds", "1", "--jobs", "1"),
            *("--steps", "600", "--eval-freq", "200", "--eval-episodes", "1", "--out", "result"),
        ],
        ["result/Pendulum-v1/sac_nf_0/evaluations.csv", "result/Pendulum-v1/sac_nf_0/metrics.csv"],
    ),
    "world-model train": (
        [
            *("ardae_rl", "world-model", "train", "--env", "CarRacing-v3", "--folder", "result", "--episodes", "1"),
            *_SMALL_WORLD_MODEL,
        ],
        ["result/round_0/vision.csv", "result/round_0/memory.csv", "result/round_0/controller.csv"],
    ),
    "reproduce": (
        ["experiments", "run", "correlated", "--budget", "smoke", "--jobs", "1", "--out", "result"],
        ["result/correlated_smoke.csv"],
    ),
}
_TIMES = ("seconds", "per_second")  # in the names of columns that differ from run to run


def start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "envs"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def complete(arguments: list[str], folder: Path) -> None:
    process = start(arguments, folder)
    _, errors = process.communicate()
    check_success(arguments, process.returncode, errors)


def check_success(arguments: list[str], status: int, errors: bytes) -> None:
    """Check the exit status of a command.

    :raises RuntimeError: If it failed.
    """
    if status:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{errors.decode()[-2000:]}")


def differing(expected: Path, folder: Path, tables: Sequence[str]) -> list[str]:
    """Return the tables whose numbers, apart from times, differ between two folders, or that one of them lacks."""
    return [table for table in tables if _numbers(expected / table) != _numbers(folder / table)]


def _numbers(path: Path) -> list[dict[str, str]] | None:
    if not path.exists():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if not any(part in name for part in _TIMES)} for row in rows]
