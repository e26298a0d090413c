"""Every example that a user can copy runs: those of docstrings, of the README and of `docs/`."""

import ast
import doctest
import importlib
import pkgutil
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ardae_envs
import ardae_rl
from tests.conftest import ROOT

PARSER = doctest.DocTestParser()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SOURCES = [path for folder in ("ardae_rl", "envs/ardae_envs") for path in sorted((ROOT / folder).rglob("*.py"))]


def docstring_examples(path: Path) -> Iterator[doctest.DocTest]:
    """Yield the examples of one source file, found without importing it; each docstring is one test."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node, clean=True)
            if text and ">>>" in text:
                name = f"{path.relative_to(ROOT)}:{getattr(node, 'name', 'module')}"
                line = node.body[0].lineno - 1
                yield PARSER.get_doctest(text, {"__name__": "__main__"}, name, str(path), line)


def code_blocks(document: Path) -> Iterator[tuple[int, str]]:
    """Yield the Python blocks of a Markdown file, with the number of the line before each block's code."""
    text = document.read_text()
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, block.start(1)), block[1]


EXAMPLES = [example for path in SOURCES for example in docstring_examples(path)]


@pytest.fixture(autouse=True)
def example_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each example in an empty folder, with its temporary files there, and without a display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstring(example: doctest.DocTest, request: pytest.FixtureRequest) -> None:
    if "RayEvaluator" in example.name:
        request.getfixturevalue("local_cluster")  # which tolerates a slow start on a busy machine
    report: list[str] = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_document(document: Path) -> None:
    """The blocks of one document build on each other, as a reader would type them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, code in code_blocks(document):
        exec(compile("\n" * line + code, str(document), "exec"), names)


def exported(module: ModuleType) -> dict[str, object]:
    """Return what a module declares public, by where it is defined: `MlpPolicy` is an alias of `SACARDAEPolicy`."""
    values = [getattr(module, name) for name in getattr(module, "__all__", ())]
    return {f"{value.__module__}.{value.__qualname__}": value for value in values if hasattr(value, "__qualname__")}


def defined(module: ModuleType) -> dict[str, object]:
    """Return the classes without a leading underscore that a module defines."""
    return {
        f"{module.__name__}.{name}": value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def public_names() -> dict[str, object]:
    """Return all that the packages export, and the classes of `ardae_envs`, which users import from its modules."""
    names = exported(ardae_rl)
    for found in pkgutil.walk_packages(ardae_rl.__path__, "ardae_rl."):
        if found.name != "ardae_rl.__main__":
            names |= exported(importlib.import_module(found.name))
    for found in pkgutil.walk_packages(ardae_envs.__path__, "ardae_envs."):
        names |= defined(importlib.import_module(found.name))
    return names


def test_public_names_have_examples() -> None:
    public = public_names()
    lacking = {name for name, value in public.items() if ">>>" not in (value.__doc__ or "")}
    assert len(public) > 40
    assert lacking == set(), "these need a runnable example in their docstring"
