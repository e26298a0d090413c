"""Files that survive interruptions, and folders in which one process works at a time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

LOCK = ".lock"


def write_json(path: Path, value: Any) -> None:
    """Write ``value``. An interruption leaves the old file, never a part of the new one; a missing folder is made."""
    with replacement(path) as file:
        file.write(json.dumps(value, indent=2) + "\n")


@contextmanager
def replacement(path: Path, mode: str = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Open a temporary file, which takes the place of ``path`` once it is on the disk; a missing folder is made.

    An interruption, or an error within the block, leaves the old file. An ``OSError`` names the file. A link stays a
    link: the file that it points to is replaced. Pipes and devices are written to directly.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open(mode, newline=newline) as file:
            yield file
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open(mode, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of `write`, which knows no name
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Wait until a file is on the disk, so that it is complete even if the machine crashes right after a rename."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """Return the value in a file; None if the file does not exist or is unreadable, as after a machine crash."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


class FolderInUseError(RuntimeError):
    """Another process works in the folder.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from ardae_rl.runs.files import FolderInUseError, locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder)):
    ...     try:
    ...         with locked(Path(folder)):
    ...             pass
    ...     except FolderInUseError:
    ...         print("in use")
    in use
    """


@contextmanager
def locked(folder: Path, timeout: float = 0) -> Iterator[None]:
    """Keep other processes out of a folder, which is created if missing. The lock ends with the process at the latest.

    :param timeout: Number of seconds to wait for the others; -1 to wait until they have finished.
    :raises FolderInUseError: If another process, or another part of this one, holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise FolderInUseError(f"another process is working in {folder}") from error
    try:
        yield
    finally:
        lock.release()
