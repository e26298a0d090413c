"""Settings of a stage, recorded beside its checkpoint, so that it cannot be resumed with other settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ardae_rl.common.records import plain
from ardae_rl.runs.files import write_json
from ardae_rl.world_models.records import read_record


def check_settings(folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
    """Record the settings that the results of a stage depend on, or compare them with the recorded ones.

    :param folder: Folder of the stage's checkpoint.
    :param stage: Name of the stage, whose checkpoint is ``<stage>.pt``.
    :param settings: Values by name. Nested mappings are compared key by key.
    :raises ValueError: If a setting differs or was not recorded, or if the folder has a checkpoint without a record,
        or a damaged record.
    """
    path, settings = _record(folder, stage), plain(settings)
    if not path.exists():
        checkpoint = folder / f"{stage}.pt"
        if checkpoint.exists():
            raise ValueError(f"`folder` must have a record of the settings of {checkpoint}, got no file {path.name}")
        write_json(path, settings)
    recorded = read_record(path)
    for name, before, value in _differences(recorded, {name: settings.get(name) for name in recorded}):
        raise ValueError(f"`{name}` must be {before!r}, as recorded in {folder}, got {value!r}")
    unrecorded = [name for name in settings if name not in recorded]
    if unrecorded:
        raise ValueError(
            f"`folder` must be new, or made by this version of ardae-rl, got {folder}, made by another version, which "
            f"did not record {', '.join(unrecorded)}; delete it or choose another one"
        )


def is_recorded(folder: Path, stage: str) -> bool:
    """Return whether :func:`check_settings` has recorded the settings of a stage."""
    return _record(folder, stage).exists()


def _record(folder: Path, stage: str) -> Path:
    return folder / f"{stage}_settings.json"


def _differences(recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in {**recorded, **settings}:
        before, now = recorded.get(name), settings.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            for key, *values in _differences(before, now):
                first, bracket, rest = key.partition("[")
                yield f"{name}[{first!r}]{bracket}{rest}", values[0], values[1]
        elif before != now:
            yield name, before, now
