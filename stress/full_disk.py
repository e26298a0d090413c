"""Commands whose disk is full at a random moment, and that resume after there is room: no traceback, same results.

The disk is a small file system in memory, so that the check needs Linux and the right to mount one.
"""

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stress.commands import COMMANDS, complete, differing, start

_PAGE = 4096
_ROOM = 2**30  # bytes


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Give each command ``count`` disks that are too small for it, then room, and compare its final tables."""
    if os.geteuid() != 0:
        raise SystemExit("full_disk mounts file systems in memory, which takes the rights of root")
    return [_on_small_disks(name, int(count), seed) for name in COMMANDS]


def _on_small_disks(name: str, n_disks: int, seed: int) -> dict[str, Any]:
    arguments, tables = COMMANDS[name]
    rng = random.Random(f"{name} {seed}")
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as whole:
        begin = time.monotonic()
        complete(arguments, Path(whole))
        seconds = time.monotonic() - begin
        needed = _size(Path(whole))
        for _ in range(n_disks):
            size = round(rng.uniform(0.05, 0.95) * needed)
            with _disk(size) as folder:
                process = start(arguments, folder)
                _, errors = process.communicate()
                found = faults(process.returncode, errors.decode())
                _mount(folder, f"remount,size={_ROOM}")
                complete(arguments, folder)
                notes += [f"{size}: {fault}" for fault in found + differing(Path(whole), folder, tables)]
    return {
        "command": name,
        "seed": seed,
        "seconds": round(seconds, 1),
        "megabytes": round(needed / 1e6, 2),
        "disks": n_disks,
        "wrong": len(notes),
        "note": "; ".join(notes),
    }


def faults(status: int, errors: str) -> list[str]:
    """Return what is wrong with the exit status and the message of a command whose disk was too small."""
    if status == 0:
        return ["no error"]
    found = []
    if "Traceback" in errors:
        found.append("traceback")
    if "No space left on device" not in errors:
        found.append("does not name the cause")
    return found


def _size(folder: Path) -> int:
    """Return the bytes that a folder takes in whole pages."""
    return sum(-(-path.stat().st_size // _PAGE) * _PAGE for path in folder.rglob("*") if path.is_file())


@contextmanager
def _disk(size: int) -> Iterator[Path]:
    """Yield the folder of an empty file system with ``size`` bytes."""
    with tempfile.TemporaryDirectory() as folder:
        _mount(Path(folder), f"size={size}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "ardae-rl", str(folder)], check=True)
