"""Result tables: CSV files that a repeated run updates in place, and tables on the screen."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from ardae_rl.common.optional import require
from ardae_rl.runs.files import replacement
from ardae_rl.runs.versions import package_versions

Row = Mapping[str, Any]
_VERSION_COLUMNS = {"torch": "torch", "sb3": "stable-baselines3", "gymnasium": "gymnasium", "ardae_rl": "ardae-rl"}


def versions() -> dict[str, str]:
    """Return the versions that a result depends on, as columns of a table."""
    installed = package_versions()
    return {column: installed[name] for column, name in _VERSION_COLUMNS.items()}


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table; none if the file does not exist yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows that have the same columns. An interruption leaves the old file, never a part of the new one."""
    with replacement(path, newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def merge_csv(path: Path, rows: Sequence[Row], key: Iterable[str]) -> None:
    """Add rows to a table, replacing the rows that agree with them in all columns of ``key``.

    A repeated run thus replaces its own rows and leaves all others, also those that another process adds meanwhile.

    :param path: The CSV file.
    :param rows: The new rows.
    :param key: Columns that identify a row.
    :raises ValueError: If the new rows have other columns than the table.
    """
    key = tuple(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        old = read_csv(path)
        if old and list(old[0]) != list(rows[0]):
            raise ValueError(
                f"`rows` must have the columns of {path}, {', '.join(old[0])}, got {', '.join(rows[0])}; "
                "move the file away"
            )
        replaced = {tuple(str(row[k]) for k in key) for row in rows}
        write_csv(path, [*(row for row in old if tuple(row[k] for k in key) not in replaced), *rows])


def print_table(rows: Sequence[Row], title: str) -> None:
    """Print rows as a table, with numbers to four digits. Output to a file is not cut to the width of a terminal.

    :raises ImportError: If rich is not installed.
    """
    require("rich", "zoo")
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*rows[0], title=escape(title))  # text in brackets is no markup
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else escape(str(value)) for value in row.values()))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
