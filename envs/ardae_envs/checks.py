"""Checks of arguments, with one form of message: "`n` must be >= 1, got 0"."""

from collections.abc import Collection


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """:raises ValueError: Unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_min(name: str, value: float, minimum: float) -> None:
    """:raises ValueError: Unless ``value`` is at least ``minimum``."""
    if not value >= minimum:
        raise ValueError(f"`{name}` must be >= {minimum:g}, got {value!r}")
