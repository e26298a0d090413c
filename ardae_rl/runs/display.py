"""Progress of several runs: bars in a terminal; elsewhere, such as in a log file, a line every thirty seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ardae_rl.runs.progress import ProgressLines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Display(Protocol):
    """Shows the progress of several runs.

    Example:

    >>> from rich.console import Console
    >>> from ardae_rl.runs.display import display
    >>> with display(1, Console(force_terminal=False)) as shown:
    ...     shown.report("sac 0", 90, 90, "return -3.0")
    ...     shown.end("sac 0")
    ...     shown.update(1)
    runs: 1 of 1, 0 s
    """

    def report(self, name: str, step: int, total: int, note: str) -> None:
        """Set the progress of an active run.

        :param name: Name of the run.
        :param step: Number of steps done.
        :param total: Number of steps in all.
        :param note: Text about the run.
        """

    def end(self, name: str) -> None:
        """Stop showing a run, because it has ended. It need not have reported anything."""

    def update(self, n_ended: int) -> None:
        """Set how many runs have ended. Call it often: without a terminal, it prints the line if it is time."""


@contextmanager
def display(n_runs: int, console: "Console") -> Iterator[Display]:
    """Yield a display: an overall bar and one for each active run, or a line that names the active runs.

    :param n_runs: Number of runs.
    :param console: Where to draw the bars; text that is printed in the meantime appears above them.
    """
    if not console.is_terminal:
        yield _Lines(n_runs)
        return
    with _progress_bars(console) as bars:
        yield _Bars(bars, n_runs)


class _Lines:
    def __init__(self, n_runs: int) -> None:
        self.lines = ProgressLines("runs", n_runs)
        self.active: dict[str, str] = {}

    def report(self, name: str, step: int, total: int, note: str) -> None:
        self.active[name] = f"{name}: {step} of {total}" + (f", {note}" if note else "")

    def end(self, name: str) -> None:
        self.active.pop(name, None)

    def update(self, n_ended: int) -> None:
        self.lines(n_ended, "; ".join(self.active.values()))


class _Bars:
    def __init__(self, bars: "Progress", n_runs: int) -> None:
        self.bars = bars
        self.overall = bars.add_task("runs", total=n_runs, note="")
        self.active: dict[str, TaskID] = {}

    def report(self, name: str, step: int, total: int, note: str) -> None:
        if name not in self.active:
            self.active[name] = self.bars.add_task(name, note="")
        self.bars.update(self.active[name], completed=step, total=total, note=note, visible=step < total)

    def end(self, name: str) -> None:
        if name in self.active:
            self.bars.remove_task(self.active.pop(name))

    def update(self, n_ended: int) -> None:
        self.bars.update(self.overall, completed=n_ended)


def _progress_bars(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=console, transient=True)
