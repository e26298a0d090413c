"""A run in its folder: training steps that survive an interruption."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from queue import Queue
from typing import Any

import torch as th

from ardae_rl.common.training import Stateful
from ardae_rl.runs.files import replacement

ProgressQueue = Queue[tuple[str, int, int, str]]  # name, steps done, steps in all, note
_SECONDS_BETWEEN_REPORTS = 0.5


class History(list[dict[str, float]]):
    """Rows of numbers that a training loop collects, as a part of its checkpoint.

    Example:

    >>> from ardae_rl.runs.run import History
    >>> history = History([{"step": 0, "loss": 1.0}])
    >>> resumed = History()
    >>> resumed.load_state_dict(history.state_dict())
    >>> resumed == history
    True
    """

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self[:] = state_dict["rows"]


class Run:
    """A run in progress: its folder, steps that survive an interruption, and progress reports.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from ardae_rl.runs.run import History, Run
    >>> def train(folder, stop_after=None):
    ...     history = History()
    ...     for step in Run(folder).steps(6, {"history": history}, every=2):
    ...         history.append({"step": step})
    ...         if step == stop_after:
    ...             break
    ...     return [row["step"] for row in history]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     train(Path(folder), stop_after=4), train(Path(folder))  # resumes after step 3, the last checkpoint
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])

    :param folder: Folder for the run's files, created if missing.
    :param name: Name next to the progress bar.
    :param progress: Receives (name, steps done, steps in all, note); None for a run without a progress bar.
    """

    def __init__(self, folder: Path, name: str = "", progress: ProgressQueue | None = None) -> None:
        self.folder, self.name, self._progress = folder, name, progress
        self._last_report = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def steps(
        self, n: int, parts: Mapping[str, Stateful], *, checkpoint: str = "checkpoint", every: int = 1000
    ) -> Iterator[int]:
        """Yield 0, ..., n - 1, or the rest of these steps after an interruption.

        :param n: Number of steps.
        :param parts: What the loop changes. It is saved, with torch's random state, after every ``every`` steps and at
            the end, and loaded at the start if the folder has such a checkpoint.
        :param checkpoint: Name of the file, for runs that have several loops.
        :param every: Number of steps between checkpoints.
        """
        path = self.folder / f"{checkpoint}.pt"
        start = _load(path, parts) if path.exists() else 0
        for step in range(start, n):
            self.report(step, n)
            yield step
            if (step + 1) % every == 0 or step + 1 == n:
                _save(path, parts, step + 1)
        self.report(n, n)

    def report(self, done: int, total: int, note: str = "") -> None:
        """Move the progress bar, at most a few times a second.

        :param done: Number of steps done.
        :param total: Number of steps in all.
        :param note: Text next to the bar.
        """
        now = time.monotonic()
        if self._progress is not None and (done == total or now - self._last_report > _SECONDS_BETWEEN_REPORTS):
            self._last_report = now
            self._progress.put((self.name, done, total, note))


def _save(path: Path, parts: Mapping[str, Stateful], step: int) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    with replacement(path, "wb") as file:
        try:
            th.save({"step": step, "random_state": th.get_rng_state(), "parts": states}, file)
        except RuntimeError as error:
            # On a full disk, PyTorch's own error is about a position in the file
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _load(path: Path, parts: Mapping[str, Stateful]) -> int:
    try:
        saved = th.load(path, map_location="cpu", weights_only=True)  # each part copies to its own device
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise ValueError(
            f"`folder` must have intact checkpoints, got a damaged {path}; delete it to start over"
        ) from error
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    th.set_rng_state(saved["random_state"])
    step: int = saved["step"]
    return step
