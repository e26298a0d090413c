"""Commands that are killed at random moments: what they resume from must be whole.

The results of commands that resume by themselves must be those of an uninterrupted run. For ``train``, which does not,
every checkpoint but the last, whose writing may have been interrupted, must load, and training must continue from the
last whole one.
"""

import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ardae_rl.evaluation import load_for_evaluation
from ardae_rl.runs.progress import progress_bar
from stress.commands import COMMANDS, check_success, complete, differing, start

_ALGORITHM = "sac_nf"
_TRAIN = [
    *("ardae_rl", "train", "--algo", _ALGORITHM, "--env", "Pendulum-v1", "--seed", "0", "--no-progress", "-f", "logs"),
    *("-params", "buffer_size:1000", "policy_kwargs:dict(net_arch=[16])", "-n"),
]
_STEPS, _SAVE_FREQUENCY, _MORE_STEPS = 1000, 20, 50


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Kill each command ``count`` times, and check what is left."""
    rows = []
    checks: list[Callable[[int, int], dict[str, Any]]] = [*(partial(_resumed, name) for name in COMMANDS), _continued]
    with progress_bar("commands", len(checks), shown=True) as show:
        for check in checks:
            rows.append(check(int(count), seed))
            show(len(rows))
    return rows


def _resumed(name: str, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill a command and its resumptions, again from the start whenever it finishes, and compare its final tables."""
    arguments, tables = COMMANDS[name]
    rng = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as whole:
        seconds = _seconds(arguments, Path(whole))
        n_killed, finished, notes = 0, 0, []
        while n_killed < n_kills:
            with tempfile.TemporaryDirectory() as folder:
                n_killed += _finish(arguments, Path(folder), seconds, n_kills - n_killed, rng)
                notes += differing(Path(whole), Path(folder), tables)
                finished += 1
    return _row(name, seed, seconds, n_killed, finished, finished * len(tables), notes)


def _continued(n_kills: int, seed: int) -> dict[str, Any]:
    """Kill ``train``, load its checkpoints, and continue from the last one that is whole."""
    rng = random.Random(f"train {seed}")
    arguments = [*_TRAIN, str(_STEPS), "--save-freq", str(_SAVE_FREQUENCY)]
    with tempfile.TemporaryDirectory() as whole:
        seconds = _seconds(arguments, Path(whole))
    n_killed, continued, loaded, notes = 0, 0, 0, []
    while n_killed < n_kills:
        with tempfile.TemporaryDirectory() as folder:
            n_killed += _kill(arguments, Path(folder), rng.uniform(0, seconds))
            models, found = whole_checkpoints(Path(folder))
            loaded += len(models)
            notes += found
            if models:
                complete([*_TRAIN, str(_MORE_STEPS), "-i", str(models[-1])], Path(folder))
                continued += 1
    return _row("train", seed, seconds, n_killed, continued, loaded, notes)


def whole_checkpoints(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the checkpoints that load, the newest one last, and the names of older ones that do not."""
    paths = sorted(folder.rglob("rl_model_*_steps.zip"), key=lambda path: int(re.sub(r"\D", "", path.name)))
    whole, damaged = [], []
    for path in paths:
        try:
            load_for_evaluation(_ALGORITHM, path)
        except ValueError:
            damaged.append(path)
        else:
            whole.append(path)
    return whole, [path.name for path in damaged if path != paths[-1]]


def _finish(arguments: list[str], folder: Path, seconds: float, n_kills: int, rng: random.Random) -> int:
    """Let a command finish after some of its starts were killed, and return how many were.

    :param seconds: Duration of the whole command, within which are the moments of the kills.
    :param n_kills: Number of kills at most; fewer if the command is faster.
    """
    for n_killed in range(n_kills):
        if not _kill(arguments, folder, rng.uniform(0, seconds)):
            return n_killed
    complete(arguments, folder)
    return n_kills


def _kill(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Kill the command after some seconds; return False if it was faster.

    :raises RuntimeError: If it fails before.
    """
    process = start(arguments, folder)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    check_success(arguments, process.returncode, errors)
    return False


def _seconds(arguments: list[str], folder: Path) -> float:
    """Run the command, and return how long it took."""
    begin = time.monotonic()
    complete(arguments, folder)
    return time.monotonic() - begin


def _row(
    name: str, seed: int, seconds: float, killed: int, finished: int, checked: int, notes: list[str]
) -> dict[str, Any]:
    return {
        "command": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "killed": killed,
        "finished": finished,
        "checked": checked,
        "wrong": len(notes),
        "note": " ".join(notes),
    }
