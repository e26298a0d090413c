"""The tutorials run, with the small budgets that each has in its header."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

TUTORIALS = sorted(path for path in (ROOT / "docs/tutorials").glob("*.md") if path.stem != "index")
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?P<options>(?::[^\n]*\n)*)(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    text = tutorial.read_text()
    budget = yaml.safe_load(text.split("---")[1])["smoke"]
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in CELL.finditer(text):
        exec(compile("\n" * text.count("\n", 0, cell.start("code")) + cell["code"], str(tutorial), "exec"), names)
        if "parameters" in cell["options"]:
            assert budget.keys() <= names.keys()
            names |= budget
    assert budget
