"""The option ``--env-kwargs NAME:VALUE``, in RL Zoo's form."""

import ast
from collections.abc import Iterable
from typing import Annotated, Any

import typer


def _option(default: str) -> Any:
    return typer.Option(
        "--env-kwargs",
        metavar="NAME:VALUE",
        help=f"An argument of the environment, with a value in Python; repeatable. By default those {default}.",
    )


EnvKwargs = Annotated[list[str] | None, _option("used in training")]
TrainingEnvKwargs = Annotated[list[str] | None, _option("that the id is registered with")]


def parsed(env_kwargs: Iterable[str] | None) -> dict[str, Any]:
    """Return the arguments by name.

    :raises ValueError: For text in another form.
    """
    arguments = {}
    for text in env_kwargs or ():
        name, colon, value = text.partition(":")
        try:
            arguments[name] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            colon = ""
        if not (name.isidentifier() and colon):
            raise ValueError(
                f"`env_kwargs` must have the form NAME:VALUE with a value in Python, such as continuous:False or "
                f"renderer:'fast', got {text!r}"
            )
        if name == "max_episode_steps" and not _is_limit(arguments[name]):
            raise ValueError(f"`env_kwargs` must have a positive integer for max_episode_steps, got {text!r}")
    return arguments


def _is_limit(value: object) -> bool:
    """Return whether Gymnasium accepts a value as a time limit; None and -1 mean no limit."""
    return value is None or (type(value) is int and (value > 0 or value == -1))
