"""Commands that are killed at random moments and resumed: their results must be those of an uninterrupted run."""

import random
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from stress.commands import COMMANDS, complete, differing, start


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Interrupt each command ``count`` times, and compare its final tables."""
    return [_interrupted(name, int(count), seed) for name in COMMANDS]


def _interrupted(name: str, n_kills: int, seed: int) -> dict[str, Any]:
    arguments, tables = COMMANDS[name]
    rng = random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as resumed:
        begin = time.monotonic()
        complete(arguments, Path(whole))
        seconds = time.monotonic() - begin
        n_killed = _kill_often(arguments, Path(resumed), seconds, n_kills, rng)
        complete(arguments, Path(resumed))
        differ = differing(Path(whole), Path(resumed), tables)
    return {
        "command": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "killed": n_killed,
        "tables": len(tables),
        "wrong": len(differ) + (n_killed < n_kills),
        "note": " ".join([*differ, *["too few kills"] * (n_killed < n_kills)]),
    }


def _kill_often(arguments: list[str], folder: Path, seconds: float, n_kills: int, rng: random.Random) -> int:
    """Kill the command and its resumptions, each at a random moment of what remains, and return the number of kills.

    :param seconds: Duration of the whole command.
    """
    n_killed, remaining = 0, seconds
    while n_killed < n_kills:
        moment = rng.uniform(0.1, 0.95) * remaining
        if not _kill(arguments, folder, moment):
            break  # it has finished
        n_killed += 1
        remaining -= moment
    return n_killed


def _kill(arguments: list[str], folder: Path, seconds: float) -> bool:
    """Kill the command after some seconds; return False if it was faster."""
    process = start(arguments, folder)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    return False
