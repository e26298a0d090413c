"""Tables that are printed."""

import pytest

from ardae_rl.runs.tables import print_table


def test_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages of PyTorch have them, and so may paths."""
    states = ["failed: [enforce fail at alloc_cpu.cpp:124] err == 0", "no such file in [/data/runs]"]
    print_table([{"state": state, "[x]": 0.123456} for state in states], "runs/[old]")
    printed = capsys.readouterr().out
    assert all(text in printed for text in (*states, "runs/[old]", "0.1235"))
