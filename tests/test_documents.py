"""Everything that the README and the documents mention exists: links, files, modules and commands."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer

from ardae_rl.cli.main import app
from experiments.catalog import EXPERIMENTS
from tests.conftest import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.stem)
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_and_files(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    if document.stem != "CHANGELOG":  # which names old files too
        files = re.findall(r"`((?:ardae_rl|envs|experiments|tests|docs|zoo_configs)/[\w./-]+)`", text)
        assert [file for file in files if not (ROOT / file).exists()] == []


def test_commands(document: Path) -> None:
    text = document.read_text()
    modules = re.findall(r"python -m\s+([\w.]+)", text)
    assert [module for module in modules if importlib.util.find_spec(module) is None] == []
    experiments = re.findall(r"(?:python -m experiments run|ardae-rl reproduce) ([\w-]+)", text)
    assert [name for name in experiments if name not in {*EXPERIMENTS, "FIGURE", "NAME"}] == []
    commands = re.findall(r"(?:^|`)ardae-rl ([a-z][\w-]*)", text, re.MULTILINE)
    assert [name for name in commands if name not in COMMANDS] == []
