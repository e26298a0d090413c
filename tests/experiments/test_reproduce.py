"""The driver of the figures: names and budgets checked first, runs made once, table and picture written."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ardae_rl.cli.main import app
from ardae_rl.runs.tables import read_csv
from experiments.ardae_paper import fig_s2
from experiments.reproduce import FIGURES, reproduce


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "figure='fig9': accepted are 'fig3', 'figS2', 'fig4', 'figS4', 'fig5', 'fig7'"),
        (["fig3", "--budget", "long"], "--budget='long': accepted are 'quick', 'paper'"),
        (["fig3", "--seeds", "0"], "`--seeds` must be positive, got 0"),
        (["fig3", "--jobs", "0"], "`--jobs` must be positive, got 0"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["reproduce", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not any(tmp_path.iterdir()), "nothing was begun"


def test_every_figure_has_settings_for_both_budgets() -> None:
    import importlib

    for module in map(importlib.import_module, FIGURES.values()):
        for budget in ("quick", "paper"):
            runs = module.runs(budget, 2)
            assert len({settings["name"] for settings in runs}) == len(runs) > 0
            assert module.SEEDS[budget] > 0


def test_a_figure_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three updates; the second command finds all runs finished."""
    monkeypatch.chdir(tmp_path)
    quick: dict[str, Any] = {"n_updates": 3, "width": 8, "n_sigmas": 2}
    monkeypatch.setitem(fig_s2.BUDGETS, "quick", quick)
    for already in (0, 2):
        result = CliRunner().invoke(app, ["reproduce", "figS2", "--seeds", "1", "--jobs", "1", "--out", "out"])
        assert result.exit_code == 0, result.output
        assert f"2 runs, {already} of them finished before" in result.output
        assert "AR-DAE (|σ|)" in result.output
    rows = read_csv(tmp_path / "out" / "figS2_quick.csv")
    assert len(rows) == 6 and {"method", "seed", "sigma", "error", "torch", "ardae_rl"} <= set(rows[0])
    assert (tmp_path / "out" / "figS2_quick.png").stat().st_size > 10_000


def test_failed_runs_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fig_s2.BUDGETS, "quick", {"n_updates": 3, "width": -1, "n_sigmas": 2})
    with pytest.raises(RuntimeError, match="2 of 2 runs failed; the same command goes on with them"):
        reproduce("figS2", "quick", 1, 1, tmp_path / "out")
