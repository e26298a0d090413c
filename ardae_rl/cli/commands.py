"""What every command of ``ardae-rl`` has: one-line errors, a traceback on demand, and a number of threads."""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_type_hints

import torch as th
import typer

from ardae_rl.cli.errors import one_line_errors
from ardae_rl.common.checks import check_count

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of PyTorch threads; by default OMP_NUM_THREADS, or else one. 0 means one per core, "
        "for large networks on an idle machine.",
    ),
]


def command(app: typer.Typer, example: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds a function to the commands, with the options that all of them have.

    The function itself stays as it is, so that commands can call each other.

    :param app: Group of the command.
    :param example: A call of the command, which its help shows, without the leading ``ardae-rl``.
    :param settings: Arguments of ``app.command``.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(*args: Any, debug: bool, threads: int | None, **kwargs: Any) -> None:
            with one_line_errors(function, debug=debug):
                set_threads(threads)
                function(*args, **kwargs)

        hints = get_type_hints(function, include_extras=True)
        own = inspect.signature(function).parameters.values()
        added = [
            inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug),
            inspect.Parameter("threads", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Threads),
        ]
        parameters = [*(parameter.replace(annotation=hints[parameter.name]) for parameter in own), *added]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {**hints, "debug": Debug, "threads": Threads}
        app.command(epilog=f"Example: ardae-rl {example}", **settings)(run)
        return function

    return decorate


def set_threads(threads: int | None) -> None:
    """Set the number of PyTorch threads.

    Small networks gain nothing from more than one, and lose a lot if other programs need the cores.

    :param threads: Number of threads; 0 for one per core, None for OMP_NUM_THREADS or else one.
    """
    if threads is None:
        if "OMP_NUM_THREADS" in os.environ:
            return
        threads = 1
    check_count("threads", threads, 0)
    th.set_num_threads(threads or os.cpu_count() or 1)
