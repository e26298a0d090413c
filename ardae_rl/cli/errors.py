"""What the parts of the ``ardae-rl`` command share."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from gymnasium.error import DependencyNotInstalled

USER_ERRORS = (ValueError, ImportError, DependencyNotInstalled)


@contextmanager
def one_line_errors(errors: tuple[type[Exception], ...] = USER_ERRORS) -> Iterator[None]:
    """Turn ``errors`` (a wrong argument, a missing extra) into one line on stderr and exit status 2."""
    try:
        yield
    except errors as error:
        message = " ".join(str(error).split())
        typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
