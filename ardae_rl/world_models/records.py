"""The JSON files of World Models: descriptions of data, and settings of stages."""

from pathlib import Path
from typing import Any

from ardae_rl.runs.files import read_json


def read_record(path: Path, *names: str) -> dict[str, Any]:
    """Return the dictionary in an existing JSON file, which a crash of the machine may have damaged.

    :param path: Path of the file, in a folder that can be made again by the same training.
    :param names: Keys that the dictionary must have.
    :raises ValueError: If the file has no such dictionary.
    """
    record = read_json(path)
    if not isinstance(record, dict) or any(name not in record for name in names):
        raise ValueError(
            f"`folder` must have intact files, got a damaged {path}; restore it, or delete {path.parent} to start over"
        )
    return record
