"""Progress bars: switched off, as lines without a terminal or rich, and how often these are printed."""

import sys

import pytest

from ardae_rl.runs import progress
from ardae_rl.runs.progress import progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the tests set: the last number is the time in seconds."""
    times = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[-1])
    return times


def test_lines_are_rare(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """One at most every thirty seconds, and one at the end."""
    with progress_bar("episodes", 200, True) as update:
        for second in range(100):
            clock.append(1000.0 + second)
            update(second)
        clock.append(1100.5)
        update(200)
    assert capsys.readouterr().out.splitlines() == [
        "episodes: 30 of 200, 30 s",
        "episodes: 60 of 200, 60 s",
        "episodes: 90 of 200, 90 s",
        "episodes: 200 of 200, 100 s",
    ]


def test_lines_without_rich(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("FORCE_COLOR", "1")  # with rich, this would be a terminal
    with progress_bar("episodes", 2, True) as update:
        update(1)
        update(2)
    assert capsys.readouterr().out == "episodes: 2 of 2, 0 s\n"


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_bar("episodes", 2, True) as update:
        update(2)
    text = capsys.readouterr().out
    assert "episodes" in text and "100%" in text and "2/2" in text and " of 2" not in text


def test_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("episodes", 2, False) as update:
        update(2)
    assert capsys.readouterr().out == ""
