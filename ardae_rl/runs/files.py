"""JSON files that are whole or absent, whatever interrupts the writing."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Write ``value``. An interruption leaves the old file, never a part of the new one; a missing folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(value, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Return what a file holds; None if it does not exist or is unreadable, as after a crash of the machine."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def as_json(value: Any) -> Any:
    """Return ``value`` as it would be read from a file: with lists for tuples."""
    return json.loads(json.dumps(value))
