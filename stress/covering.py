"""Which tests execute a line of the code: a plugin of pytest that records it, and what reads the record."""

import json
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage, CoverageData

_VARIABLE = "COVERING"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Record the lines that a test and its fixtures execute under the test's name, and how long it takes."""
    coverage = Coverage.current()
    if coverage is None:
        return (yield)
    coverage.switch_context(item.nodeid)
    begin = time.perf_counter()
    result = yield
    with _durations(Path(os.environ[_VARIABLE])).open("a") as file:
        file.write(f"{json.dumps([item.nodeid, time.perf_counter() - begin])}\n")
    return result


def _durations(data: Path) -> Path:
    return data.with_suffix(".durations")


def recorded(data: Path) -> tuple[list[str], list[str], dict[str, str]]:
    """Return what records the tests to a file: options before ``-m pytest``, options of pytest, and variables."""
    return (
        ["-m", "coverage", "run", "--source=ardae_rl", f"--data-file={data}"],
        ["-p", "stress.covering"],
        {_VARIABLE: str(data)},
    )


class CoveringTests:
    """The tests that execute each line, as they were recorded.

    :param data: File of the record.
    :param folder: Folder of the code.
    """

    def __init__(self, data: Path, folder: Path) -> None:
        self._lines, self._folder = CoverageData(str(data)), folder
        self._lines.read()
        self.seconds: dict[str, float] = dict(map(json.loads, _durations(data).read_text().splitlines()))

    def executing(self, file: str, line: int) -> set[str]:
        """Return the names of the tests that execute a line."""
        return set(self._lines.contexts_by_lineno(str(self._folder / file)).get(line, []))


def fastest_first(records: Sequence[CoveringTests]) -> list[str]:
    """Return the names of the tests in all records, the fastest first."""
    seconds = {name: duration for record in records for name, duration in record.seconds.items()}
    return sorted(seconds, key=seconds.__getitem__)


def split(records: Sequence[CoveringTests], file: str, line: int) -> tuple[list[str], list[str]]:
    """Return the names of the tests in all records that execute a line, and of all others, the fastest first."""
    executing = {name for record in records for name in record.executing(file, line)}
    names = fastest_first(records)
    return [name for name in names if name in executing], [name for name in names if name not in executing]
