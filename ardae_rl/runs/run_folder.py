"""The records in the folder of a run: its settings, whether it is finished, why it failed."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ardae_rl.runs.files import LOCK, read_json, replacement, write_json

Settings = Mapping[str, Any]
_SETTINGS, _FINISHED, _FAILURE = "settings.json", "finished.json", "failure.txt"
_BOOKKEEPING = {LOCK, _FAILURE, f"{_FAILURE}.tmp", f"{_SETTINGS}.tmp"}


def is_finished(folder: Path, settings: Settings) -> bool:
    """Return whether the run in this folder is finished and was made with these settings."""
    return bool(read_json(folder / _FINISHED) == _as_json(settings))


def failure(folder: Path) -> str | None:
    """Return the traceback of the last attempt at a run, if that failed."""
    path = folder / _FAILURE
    return path.read_text() if path.exists() else None


def check_folder(folder: Path, settings: Settings) -> None:
    """Refuse a folder in which the run would overwrite something.

    :param folder: Folder of a run, which may be missing.
    :param settings: Settings of the run.
    :raises ValueError: If the folder has a run with other settings, finished or not, or unrelated files.
    """
    wanted = _as_json(settings)
    records = [record for name in (_FINISHED, _SETTINGS) if (record := read_json(folder / name)) is not None]
    for record in records:
        names = [name for name in {**record, **wanted} if record.get(name) != wanted.get(name)]
        if names:
            short = reprlib.repr
            changes = (f"{name} ({short(record.get(name))}, now {short(wanted.get(name))})" for name in names)
            raise ValueError(
                f"`folder` must not have a run with other settings, got {folder}, whose run differs in "
                f"{', '.join(changes)}; remove that folder or choose another one"
            )
    if not records and folder.exists() and any(path.name not in _BOOKKEEPING for path in folder.iterdir()):
        raise ValueError(f"`folder` must be empty or have a run's settings.json, got {folder}")


def record_start(folder: Path, settings: Settings) -> None:
    """Record that a run with these settings works in the folder."""
    (folder / _FAILURE).unlink(missing_ok=True)
    write_json(folder / _SETTINGS, settings)


def record_finish(folder: Path, settings: Settings) -> None:
    """Record that the run in the folder is finished."""
    write_json(folder / _FINISHED, settings)


def record_failure(folder: Path, text: str) -> None:
    """Record why the run in the folder failed."""
    with replacement(folder / _FAILURE) as file:  # on a full disk, an empty file would remain
        file.write(text)


def _as_json(settings: Settings) -> Any:
    """Return the settings as they are after a round trip through JSON, with lists for tuples."""
    return json.loads(json.dumps(settings))
