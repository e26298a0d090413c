"""A progress bar that can be switched off. Without a terminal or without rich, it prints a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress_bar(description: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, and yield the function that sets how much of ``total`` is done.

    If the output is not a terminal, or rich is not installed, a line is printed every thirty seconds.

    :param description: Text next to the bar.
    :param total: Amount of work.
    :param shown: Whether there is a bar at all.
    """
    if not shown:
        yield lambda done: None
        return
    if find_spec("rich") is None:
        yield ProgressLines(description, total)
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console()
    if not console.is_terminal:
        yield ProgressLines(description, total)
        return
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)


class ProgressLines:
    """Print how much is done, at most every thirty seconds, and at the end.

    Example:

    >>> from ardae_rl.runs.progress import ProgressLines
    >>> lines = ProgressLines("episodes", 2)
    >>> lines(1)  # too early for a line
    >>> lines(2)
    episodes: 2 of 2, 0 s

    :param description: Text at the beginning of each line.
    :param total: Amount of work.
    """

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self.begin = self.last = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        """Set how much is done.

        :param done: Amount of finished work.
        :param note: Text at the end of a line.
        """
        now = time.monotonic()
        if now - self.last >= _SECONDS_BETWEEN_LINES or done == self.total:
            self.last = now
            end = f"; {note}" if note else ""
            print(f"{self.description}: {done} of {self.total}, {now - self.begin:.0f} s{end}", flush=True)
