"""Checks of arguments, with one form of message: "`sigma` must be positive, got -1"."""

import math
from collections.abc import Collection, Iterable


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """:raises ValueError: unless ``value`` is one of ``choices``"""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_keys(name: str, keys: Iterable[str], known: Collection[str]) -> None:
    """:raises ValueError: unless every key of the dictionary of arguments called ``name`` is a known one"""
    for key in keys:
        if key not in known:
            raise ValueError(f"`{name}` must only have the keys {', '.join(map(repr, known))}, got {key!r}")


def check_positive(name: str, value: float) -> None:
    """:raises ValueError: unless ``value`` is above zero
    :raises TypeError: unless it is a number
    """
    check_number(name, value)
    if not value > 0:
        raise ValueError(f"`{name}` must be positive, got {value!r}")


def check_min(name: str, value: float, minimum: float) -> None:
    """:raises ValueError: unless ``value`` is at least ``minimum``
    :raises TypeError: unless it is a number
    """
    check_number(name, value)
    if not value >= minimum:
        raise ValueError(f"`{name}` must be >= {minimum:g}, got {value!r}")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """:raises ValueError: unless ``low <= value <= high``
    :raises TypeError: unless it is a number
    """
    check_number(name, value)
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be between {low:g} and {high:g}, got {value!r}")


def check_count(name: str, value: int, minimum: int = 1) -> None:
    """:raises ValueError: unless ``value`` is at least ``minimum``
    :raises TypeError: unless it is an integer
    """
    check_number(name, value)
    if isinstance(value, float) or int(value) != value:
        raise TypeError(f"`{name}` must be an integer, got {value!r}")
    check_min(name, value, minimum)


def check_number(name: str, value: float) -> None:
    """:raises TypeError: unless ``value`` is a number; text such as "1e-4", which YAML does not read as one, is none
    :raises ValueError: for NaN
    """
    try:
        is_nan = math.isnan(value)
    except TypeError as error:
        raise TypeError(f"`{name}` must be a number, got {value!r}") from error
    if is_nan:
        raise ValueError(f"`{name}` must be a number, got {value!r}")
