"""Result tables: CSV files that a repeated run updates in place, the versions that go into them, and on the screen."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch as th

import ardae_rl
from ardae_rl.common.optional import require

Row = Mapping[str, Any]


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


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of the same columns; an interruption leaves the old file, not half a one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def merge_csv(path: Path, rows: Sequence[Row], key: Iterable[str]) -> None:
    """Add rows to a result file, in place of the rows there that agree in all of `key`.

    A repeated run thus replaces its own rows and leaves all others; raise ValueError if the columns differ.
    """
    key = tuple(key)
    old = read_csv(path)
    if old and list(old[0]) != list(rows[0]):
        raise ValueError(f"{path} has the columns {list(old[0])}, the new rows {list(rows[0])}: move it away first")
    replaced = {tuple(str(row[k]) for k in key) for row in rows}
    write_csv(path, [*(row for row in old if tuple(row[k] for k in key) not in replaced), *rows])


def print_table(rows: Sequence[Row], title: str) -> None:
    """Numbers to four digits; what goes to a file instead of a terminal is not cut at eighty columns.

    :raises ImportError: without rich
    """
    require("rich", "zoo")
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
