"""A run at work in its folder: training steps that survive an interruption."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from queue import Queue
from typing import Any

import torch as th

from ardae_rl.common.training import Stateful

Reports = Queue[tuple[str, int, int, str]]
_REPORT_SECONDS = 0.5


class Records(list[dict[str, float]]):
    """Rows of numbers that a training loop collects, as a part of its checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        return {"rows": list(self)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self[:] = state_dict["rows"]


class Run:
    """A run at work: its folder, and training steps that survive an interruption and tell how far they are.

    :param folder: where the run leaves its files; made if missing
    :param name: what the progress bar calls it
    :param reports: takes (name, steps done, steps in all, note); None for a run without a progress bar
    """

    def __init__(self, folder: Path, name: str = "", reports: Reports | None = None) -> None:
        self.folder, self.name, self._reports = folder, name, reports
        self._last_report = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def steps(
        self, n: int, parts: Mapping[str, Stateful], *, checkpoint: str = "checkpoint", every: int = 1000
    ) -> Iterator[int]:
        """0, ..., n - 1, or what is left of them after an interruption.

        :param n: number of steps
        :param parts: what the loop changes: saved with torch's random state after every ``every`` steps and at the
            end, and loaded at the start where the folder has such a file
        :param checkpoint: the file's name, for runs of several loops
        :param every: steps between checkpoints
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
        """Move the progress bar, at most a few times a second; ``note`` stands beside it."""
        now = time.monotonic()
        if self._reports is not None and (done == total or now - self._last_report > _REPORT_SECONDS):
            self._last_report = now
            self._reports.put((self.name, done, total, note))


def _save(path: Path, parts: Mapping[str, Stateful], step: int) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    temporary = path.with_suffix(".tmp")
    th.save({"step": step, "random_state": th.get_rng_state(), "parts": states}, temporary)
    temporary.replace(path)


def _load(path: Path, parts: Mapping[str, Stateful]) -> int:
    saved = th.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved["parts"][name])
    th.set_rng_state(saved["random_state"])
    step: int = saved["step"]
    return step
