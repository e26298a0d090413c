"""Records of settings: the same in every process, and different for different functions."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ardae_rl.common.records import plain, qualified_name


def test_sets_have_no_order() -> None:
    """Python iterates over sets of strings in another order in each process."""
    code = """
from ardae_rl.common.records import plain, qualified_name
kinds = {"car", "maze", "ant", "pole"}
print(qualified_name(lambda name: name in {"car", "maze", "ant", "pole"}), plain(kinds), qualified_name(make(kinds)))
"""
    code = "def make(kinds):\n    return lambda name: name in kinds\n" + code
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(printed) == 1 and "['ant', 'car', 'maze', 'pole']" in printed.pop()


def test_objects_have_no_addresses() -> None:
    class Thing:
        pass

    def make(thing: Any) -> Callable[[], Any]:
        return lambda: thing

    assert plain(Thing()) == plain(Thing()) and " at 0x" not in plain(Thing())
    assert qualified_name(make(Thing())) == qualified_name(make(Thing()))


def test_functions_that_differ() -> None:
    """In a default value, an argument that is only named, or what they refer to."""

    def make(value: int) -> list[Callable[..., int]]:
        def named(*, n: int = value) -> int:
            return n

        return [lambda n=value: n, lambda: value, named]

    for one, other, again in zip(make(1), make(2), make(1), strict=True):
        assert qualified_name(one) != qualified_name(other)
        assert qualified_name(one) == qualified_name(again)


def test_function_that_calls_itself() -> None:
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * factorial(n - 1)

    assert qualified_name(factorial) == qualified_name(factorial)
