"""Checks of arguments: one form of message, and the exception that fits the mistake."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ardae_rl.common.checks import (
    check_between,
    check_bool,
    check_choice,
    check_count,
    check_finite,
    check_keys,
    check_min,
    check_number,
    check_output,
    check_output_folder,
    check_positive,
    check_seed,
    check_widths,
)


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (check_choice, ("b", ("a", "b"))),
        (check_keys, ({"a": 1}, ("a", "b"))),
        (check_positive, (1e-9,)),
        (check_positive, (math.inf,)),
        (check_bool, (False,)),
        (check_finite, (-1e9,)),
        (check_widths, ((64, 1),)),
        (check_widths, ([],)),
        (check_min, (0, 0)),
        (check_between, (1.0, 0, 1)),
        (check_count, (1,)),
        (check_number, (-math.inf,)),
    ],
)
def test_accepted(check: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    check("x", *arguments)


@pytest.mark.parametrize(
    ("check", "arguments", "error", "message"),
    [
        (check_choice, ("c", ("a", "b")), ValueError, "`x` must be one of 'a', 'b', got 'c'"),
        (check_keys, ({"a": 1, "c": 2}, ("a", "b")), ValueError, "`x` must only have the keys 'a', 'b', got 'c'"),
        (check_positive, (0,), ValueError, "`x` must be positive, got 0"),
        (check_positive, ("1e-4",), TypeError, "`x` must be a number, got '1e-4'"),
        (check_finite, (-math.inf,), ValueError, "`x` must be finite, got -inf"),
        (check_bool, ("no",), TypeError, "`x` must be True or False, got 'no'"),
        (check_bool, (1,), TypeError, "`x` must be True or False, got 1"),
        (check_widths, (64,), TypeError, "`x` must be a sequence of widths, got 64"),
        (check_widths, ("64",), TypeError, "`x` must be a sequence of widths, got '64'"),
        (check_widths, ((64, 0),), ValueError, "`x` must be >= 1, got 0"),
        (check_min, (-1, 0), ValueError, "`x` must be >= 0, got -1"),
        (check_between, (1.5, 0, 1), ValueError, "`x` must be between 0 and 1, got 1.5"),
        (check_count, (0,), ValueError, "`x` must be >= 1, got 0"),
        (check_count, (1.5,), TypeError, "`x` must be an integer, got 1.5"),
        (check_number, (None,), TypeError, "`x` must be a number, got None"),
        (check_number, (math.nan,), ValueError, "`x` must be a number, got nan"),
    ],
)
def test_refused(check: Callable[..., None], arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        check("x", *arguments)
    assert str(raised.value) == message


def test_infinity_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ValueError, match=r"^`x` must be finite, got inf$"):
        check_positive("x", math.inf, finite=True)


def test_files_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "new", "new/deep/file"):
        check_output("x", tmp_path / name)
    for path, fault in ((tmp_path, "is a folder"), (tmp_path / "file/a/b", "is below the file")):
        with pytest.raises(ValueError, match=f"`x` must be a file to write, got {path}, which {fault}"):
            check_output("x", path)


def test_folders_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "new/deep"):
        check_output_folder("x", folder)
    for path in (tmp_path / "file", tmp_path / "file/a/b"):
        with pytest.raises(ValueError, match=f"`x` must be a folder, got {path}, which is a file or below a file"):
            check_output_folder("x", path)


def test_seeds() -> None:
    check_seed(0)
    check_seed(2**32 - 1)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=f"`seed` must be between 0 and 4294967295, got {seed}"):
            check_seed(seed)
