"""Checks of arguments, with one form of message: "`n` must be >= 1, got 0"."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RENDER_MODES = (None, "rgb_array")  # of the environments with their own drawing code


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """:raises ValueError: Unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_min(name: str, value: float, minimum: float) -> None:
    """:raises ValueError: Unless ``value`` is at least ``minimum``."""
    if not value >= minimum:
        raise ValueError(f"`{name}` must be >= {minimum:g}, got {value!r}")


def check_options(options: dict[str, Any] | None, known: Collection[str] = ()) -> dict[str, Any]:
    """Return the options of a reset; an empty dictionary for None.

    :raises ValueError: If they have a key that is not ``known``.
    """
    options = options or {}
    if unknown := sorted(set(options) - set(known)):
        accepted = f"have no keys other than {', '.join(map(repr, known))}" if known else "be empty"
        raise ValueError(f"`options` must {accepted}, got {unknown}")
    return options


def finite_action(action: ArrayLike, size: int) -> NDArray[np.float64]:
    """Return an action as an array, (size,).

    :raises ValueError: If it has another shape, or entries that are not finite.
    """
    numbers = np.asarray(action, np.float64)
    if numbers.shape != (size,) or not np.isfinite(numbers).all():
        raise ValueError(f"`action` must be {size} finite numbers, got {action!r}")
    return numbers
