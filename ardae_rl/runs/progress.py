"""A progress bar that can be switched off."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ardae_rl.common.optional import require


@contextmanager
def progress_bar(description: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, and yield the function that sets how much of ``total`` is done.

    :param description: Text beside the bar.
    :param total: Amount of work.
    :param shown: Whether there is a bar at all.
    :raises ImportError: If rich is not installed and the bar is to be shown.
    """
    if not shown:
        yield lambda done: None
        return
    require("rich", "zoo")
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)
