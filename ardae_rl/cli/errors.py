"""Errors of the command: one line on stderr, which names the option where the library names an argument."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any, get_type_hints
from zipfile import BadZipFile

import typer
from gymnasium.error import Error as GymnasiumError
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from typer.models import ArgumentInfo, OptionInfo

from ardae_rl.common.checks import close_matches
from ardae_rl.runs.files import FolderInUseError

USER_ERRORS = (
    ValueError,
    TypeError,
    AssertionError,
    ImportError,
    OSError,
    EOFError,
    BadZipFile,
    UnpicklingError,
    GymnasiumError,
    FolderInUseError,
)


@contextmanager
def one_line_errors(
    command: Callable[..., Any], errors: tuple[type[Exception], ...] = USER_ERRORS, *, debug: bool = False
) -> Iterator[None]:
    """Turn errors (a wrong argument, a missing extra or file) into one line on stderr and exit status 2.

    A TypeError that names no argument, and an assertion without a message, are bugs and are not caught.

    :param command: Function of the command, whose options the line names.
    :param errors: Classes of the errors.
    :param debug: Whether to catch no errors at all.
    """
    try:
        yield
    except errors as error:
        message = one_line(error)
        if debug or message is None:
            raise
        names = option_names(command)
        line = re.sub(r"`(\w+)`", lambda match: names.get(match[1], match[0]), message)
        line = re.sub(r"`(-[\w -]+)`", r"\1", line)  # an option already
        print_error(line)
        raise typer.Exit(2) from error


def print_error(line: str) -> None:
    """Print the line of an error."""
    typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)


def one_line(error: BaseException) -> str | None:
    """Return an error as one line that says what to do; None for a bug in the program."""
    message = " ".join(str(error).split())
    if isinstance(error, TypeError) and not re.search(r"`[^`]+` must|keyword argument", message):
        return None
    if isinstance(error, AssertionError) and not message:
        return None
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    if isinstance(error, EOFError | BadZipFile | UnpicklingError):
        return f"a file is empty, truncated or of the wrong kind: {message or type(error).__name__}"
    if (unsupported := _unsupported_actions(message)) is not None:
        return unsupported
    if re.match(r"(Observation|Action) spaces do not match", message):
        return f"`env_id` must have the spaces that the model was trained with: {message}"
    return f"{message}{_near_names(message)}" or type(error).__name__


def _unsupported_actions(message: str) -> str | None:
    """Return the error about actions that the algorithm does not support; None for another error."""
    if found := re.search(r"only supports (.*) as action spaces but (.*) was provided", message):  # of SB3
        kinds = " or ".join(re.findall(r"\.(\w+)'", found[1]))
    elif found := re.match(r"`action_space` must be a (Box) \(continuous actions\), got (.*)", message):
        kinds = found[1]
    else:
        return None
    return f"`env_id` must have {kinds} actions for this algorithm, got {found[2]}"


def _near_names(message: str) -> str:
    """Return the end of an error about an unknown argument or choice: the known ones that resemble it."""
    name = ""
    known: tuple[str, ...] = ()
    if found := re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", message):
        classes = [cls for base in (BaseAlgorithm, BasePolicy) for cls in _subclasses(base)]
        signatures = [inspect.signature(cls) for cls in classes if cls.__name__ == found[1]]
        name, known = found[2], tuple(signatures[0].parameters) if signatures else ()
    elif found := re.search(r"must be one of (.*), got '([^']*)'$", message):
        name, known = found[2], tuple(re.findall(r"'([^']*)'", found[1]))
    return close_matches(difflib.get_close_matches(name, known, n=3))


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def option_names(command: Callable[..., Any]) -> dict[str, str]:
    """Return what the user of a command types for each parameter of its function: ``{"n_episodes": "--episodes"}``.

    Command functions name their parameters as the library does, so that no table is needed.
    """
    names = {"threads": "--threads"}
    for name, hint in get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            # In an Annotated, Typer stores the first declaration as the default
            declared = [text for text in (info.default, *(info.param_decls or ())) if str(text).startswith("--")]
            if isinstance(info, OptionInfo):
                names[name] = declared[0] if declared else "--" + name.replace("_", "-")
            elif isinstance(info, ArgumentInfo):
                names[name] = name.upper()
    if "env_id" in names:
        spaces = {f"{kind}_space": f"the {kind} space of {names['env_id']}" for kind in ("action", "observation")}
        names = spaces | names
    return names
