"""Checks of arguments, with one form of message: "`sigma` must be positive, got -1"."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch as th


def close_matches(matches: Collection[str]) -> str:
    """Return the end of an error message, which names what was probably meant; empty without any match."""
    return f"; close matches: {', '.join(matches)}" if matches else ""


def check_choice(name: str, value: object, choices: Collection[object]) -> None:
    """Check that an argument is one of several choices.

    Example:

    >>> from ardae_rl.common.checks import check_choice
    >>> check_choice("kind", "c", ("a", "b"))
    Traceback (most recent call last):
    ValueError: `kind` must be one of 'a', 'b', got 'c'

    :param name: Name of the argument.
    :param value: Its value.
    :param choices: The values that it may have.
    :raises ValueError: If it has another value.
    """
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_keys(name: str, keys: Iterable[str], known: Collection[str]) -> None:
    """Check that a dictionary of keyword arguments has known keys only.

    :raises ValueError: For another key.
    """
    for key in keys:
        if key not in known:
            accepted = f"only have the keys {', '.join(map(repr, known))}" if known else "be empty"
            raise ValueError(f"`{name}` must {accepted}, got {key!r}")


def check_dict(name: str, value: object) -> None:
    """Check that an argument is a dictionary or None.

    :raises TypeError: If it is neither.
    """
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"`{name}` must be a dictionary, got {value!r}")


def check_device(name: str, value: Any) -> None:
    """Check that an argument is "auto" or a device of PyTorch.

    :raises ValueError: If PyTorch knows no such device.
    """
    try:
        th.device("cpu" if value == "auto" else value)
    except RuntimeError as error:
        raise ValueError(f"`{name}` must be auto or a PyTorch device, such as cpu or cuda:0, got {value!r}") from error


def check_positive(name: str, value: float, *, finite: bool = False) -> None:
    """Check that an argument is a number above zero.

    :param finite: Whether to refuse infinity as well. By default it is accepted: an infinite bound means no bound.
    :raises ValueError: If it is zero or negative.
    :raises TypeError: If it is not a number.
    """
    check_number(name, value)
    if not value > 0:
        raise ValueError(f"`{name}` must be positive, got {value!r}")
    if finite:
        check_finite(name, value)


def check_min(name: str, value: float, minimum: float) -> None:
    """Check that an argument is a number of at least ``minimum``.

    :raises ValueError: If it is smaller.
    :raises TypeError: If it is not a number.
    """
    check_number(name, value)
    if not value >= minimum:
        raise ValueError(f"`{name}` must be >= {minimum:g}, got {value!r}")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Check that an argument is a number between ``low`` and ``high``, both included.

    :raises ValueError: If it is outside.
    :raises TypeError: If it is not a number.
    """
    check_number(name, value)
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be between {low:g} and {high:g}, got {value!r}")


def check_count(name: str, value: int, minimum: int = 1) -> None:
    """Check that an argument is an integer of at least ``minimum``.

    :raises ValueError: If it is smaller.
    :raises TypeError: If it is not an integer.
    """
    check_number(name, value)
    if isinstance(value, float) or int(value) != value:
        raise TypeError(f"`{name}` must be an integer, got {value!r}")
    check_min(name, value, minimum)


def check_widths(name: str, widths: Sequence[int]) -> None:
    """Check that an argument is a sequence of widths of layers.

    :raises ValueError: If a width is below 1.
    :raises TypeError: If it is not a sequence, or a width is not an integer.
    """
    if not isinstance(widths, Sequence) or isinstance(widths, str):
        raise TypeError(f"`{name}` must be a sequence of widths, got {widths!r}")
    for width in widths:
        check_count(name, width)


def check_bool(name: str, value: bool) -> None:
    """Check that an argument is True or False, not merely a truthy or falsy value.

    :raises TypeError: If it is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}")


def check_finite(name: str, value: float) -> None:
    """Check that an argument is a finite number.

    :raises ValueError: If it is infinite or NaN.
    :raises TypeError: If it is not a number.
    """
    check_number(name, value)
    if math.isinf(value):
        raise ValueError(f"`{name}` must be finite, got {value!r}")


def check_seed(seed: int) -> None:
    """Check that ``seed`` can seed all random generators; NumPy's takes 32 bits.

    :raises ValueError: If it cannot.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` must be between 0 and {2**32 - 1}, got {seed}")


def check_output(name: str, path: Path) -> None:
    """Check that an argument can be the path of a file to write. Call it before the work that produces the file.

    :param name: Name of the argument.
    :param path: The path. Its folder need not exist.
    :raises ValueError: If it is a folder, or below a file.
    """
    if path.is_dir():
        raise ValueError(f"`{name}` must be a file to write, got {path}, which is a folder")
    for parent in path.parents:
        if parent.exists() and not parent.is_dir():
            raise ValueError(f"`{name}` must be a file to write, got {path}, which is below the file {parent}")


def check_output_folder(name: str, path: Path) -> None:
    """Check that an argument can be a folder to write to. Call it before the work that fills the folder.

    :param name: Name of the argument.
    :param path: The path. It need not exist.
    :raises ValueError: If it is a file, or below a file.
    """
    if any(parent.exists() and not parent.is_dir() for parent in (path, *path.parents)):
        raise ValueError(f"`{name}` must be a folder, got {path}, which is a file or below a file")


def check_number(name: str, value: float) -> None:
    """Check that an argument is a number. Text is refused, even "1e-4", which YAML does not parse as a number.

    :raises TypeError: If it is not a number.
    :raises ValueError: If it is NaN.
    """
    try:
        is_nan = math.isnan(value)
    except TypeError as error:
        raise TypeError(f"`{name}` must be a number, got {value!r}") from error
    if is_nan:
        raise ValueError(f"`{name}` must be a number, got {value!r}")
