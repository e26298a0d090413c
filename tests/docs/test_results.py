"""The tables that the site makes of CSVs, and a build of the site without warnings."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TIMEOUT

pytest.importorskip("sphinx")


def _directive() -> Any:
    spec = importlib.util.spec_from_file_location("results", ROOT / "docs/_ext/results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["results"] = module  # which dataclasses look up
    spec.loader.exec_module(module)
    return module


results = _directive()
CSV = "algo,env,seed,score,sb3\nsac,A,0,1.0,2.9\nsac,A,1,2.0,2.9\nsac,B,0,5,2.9\nours,A,0,3,2.9\nours,A,1,nan,2.8\n"


@pytest.fixture
def records(tmp_path: Path) -> Any:
    (tmp_path / "x.csv").write_text(CSV)
    return results.read(tmp_path / "x.csv")


def test_table_by_hand(records: Any) -> None:
    values = [results.Value.parse('score as "mean" .1f'), results.Value.parse('score as "all" .0f list')]
    cells = results.table(records, ["algo"], values, "env", {"algo": "", "sac": "SAC", "A": "env A"})
    assert cells == [
        ["", "env A mean", "env A all", "B mean", "B all"],
        ["SAC", "1.5", "1, 2", "5.0", "5"],
        ["ours", "3.0", "3", "", ""],
    ]


def test_summaries(records: Any) -> None:
    def cell(text: str) -> str:
        return str(results.Value.parse(text).cell(records))

    assert cell("score") == str(11 / 4)
    assert cell("score .0f range") == "1 to 5"
    assert (cell("score min"), cell("score max"), cell("score count")) == ("1.0", "5", "4")
    assert cell("score .0%") == "275%"
    with pytest.raises(ValueError, match="a value must have the form"):
        results.Value.parse("score .1f median")


def test_conditions_and_source(tmp_path: Path, records: Any) -> None:
    path = tmp_path / "x.csv"
    assert len(results.read(path, ["algo=sac", "env!=A|C"])) == 1
    with pytest.raises(ValueError, match=r"no row of x\.csv fulfils algo=no"):
        results.read(path, ["algo=no"])
    assert results.source(records, "x.csv") == "x.csv: Stable-Baselines3 2.8, 2.9"


@pytest.mark.slow
def test_site_has_no_warnings(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    variables = {**os.environ, "ARDAE_RL_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "algorithms/sac_ardae.html").exists()
