"""The bars of several runs."""

from rich.console import Console

from ardae_rl.runs.display import _progress_bars


def test_bars_disappear_at_the_end() -> None:
    """What was printed above them stays."""
    assert _progress_bars(Console()).live.transient
