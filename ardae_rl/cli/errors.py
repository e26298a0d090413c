"""Errors of the command: one line on stderr, which names the option where the library names an argument."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_type_hints

import typer
from gymnasium.error import DependencyNotInstalled
from typer.models import ArgumentInfo, OptionInfo

from ardae_rl.runs.files import FolderInUseError

USER_ERRORS = (ValueError, TypeError, ImportError, DependencyNotInstalled, FolderInUseError)


@contextmanager
def one_line_errors(command: Callable[..., Any], errors: tuple[type[Exception], ...] = USER_ERRORS) -> Iterator[None]:
    """Turn errors (a wrong argument, a missing extra) into one line on stderr and exit status 2.

    A TypeError that names no argument is a fault of the program, and is left alone.

    :param command: Function of the command, whose options the line names.
    :param errors: Classes of the errors.
    """
    try:
        yield
    except errors as error:
        message = " ".join(str(error).split())
        if isinstance(error, TypeError) and not re.search(r"`[^`]+` must|keyword argument", message):
            raise
        names = option_names(command)
        line = re.sub(r"`(\w+)`", lambda match: names.get(match[1], match[0]), message)
        typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error


def option_names(command: Callable[..., Any]) -> dict[str, str]:
    """Return what the user of a command types for each parameter of its function: ``{"n_episodes": "--episodes"}``.

    The functions of the commands name their parameters as the library does, so that no table is needed.
    """
    names = {}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            # What Typer takes for a default is the first of the declarations in an Annotated
            declared = [text for text in (info.default, *(info.param_decls or ())) if str(text).startswith("--")]
            if isinstance(info, OptionInfo):
                names[name] = declared[0] if declared else "--" + name.replace("_", "-")
            elif isinstance(info, ArgumentInfo):
                names[name] = name.upper()
    return names
