"""The options of an experiment: the keyword-only parameters of its function ``runs``."""

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from ardae_rl.common.checks import check_choice


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of an experiment with their default values."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def parse_options(function: Callable[..., Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return the values of all options.

    :param function: The experiment's function ``runs``.
    :param assignments: Texts ``name=value``. Commas separate the values of an option that takes several.
    :raises ValueError: For an unknown option, a value of the wrong type, an empty list of values whose default is not
        empty, and a repeated value.
    """
    values, hints = defaults(function), get_type_hints(function)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"`options` must have the form NAME=VALUE, got {assignment!r}")
        if not values:
            raise ValueError(f"`options` must be empty for an experiment without options, got {assignment!r}")
        check_choice("options", name, tuple(values))
        parsed = _parsed(name, text, hints[name])
        if isinstance(parsed, tuple) and (len(set(parsed)) < len(parsed) or (not parsed and values[name])):
            raise ValueError(f"`{name}` must have one value or several different ones, got {text!r}")
        values[name] = parsed
    return values


def _parsed(name: str, text: str, hint: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):  # of a type and None
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        return tuple(_parsed(name, part.strip(), get_args(hint)[0]) for part in text.split(",") if part.strip())
    try:
        return hint(text)
    except ValueError as error:
        kind = "an integer" if hint is int else "a number"
        raise ValueError(f"`{name}` must be {kind}, got {text!r}") from error
