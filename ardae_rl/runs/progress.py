"""A progress bar, if wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ardae_rl.common.optional import require


@contextmanager
def progress_bar(description: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """Gives the function that takes how much of ``total`` is done.

    :raises ImportError: without rich, if the bar is to be shown
    """
    if not shown:
        yield lambda done: None
        return
    require("rich", "zoo")
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.update(task, completed=done)
