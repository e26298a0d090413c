"""Errors: the library names arguments, the command its options."""

import ast
import re
from pathlib import Path

import pytest
import typer

from ardae_rl.cli import main, world_model
from ardae_rl.cli.errors import one_line_errors, option_names

PACKAGE = Path(main.__file__).parents[1]


def test_option_names() -> None:
    names = option_names(main.evaluate)
    assert (
        names["n_episodes"] == "--episodes"
        and names["path"] == "--model"
        and names["allow_wrappers"] == ("--allow-wrappers")
    )
    assert option_names(main.plot)["runs"] == "RUNS"
    assert option_names(world_model.collect)["assignments"] == "--set"


def line_of(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(typer.Exit) as stop, one_line_errors(main.evaluate):
        raise error
    assert stop.value.exit_code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_an_argument_is_named_by_its_option(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(kind("`n_episodes` must be >= 1,\ngot 0; see `sigma`"), capsys)
    assert line == "error: --episodes must be >= 1, got 0; see `sigma`\n"


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="unsupported operand"), one_line_errors(main.evaluate):
        raise TypeError("unsupported operand type(s)")


def strings(path: Path) -> list[tuple[int, str]]:
    """Return the strings of a module with their lines, without its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def test_the_library_names_no_option_of_the_command() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in PACKAGE.rglob("*.py")
        if "cli" not in path.relative_to(PACKAGE).parts
        for line, text in strings(path)
        if re.search(r"(?<!\S)--[a-z]", text)
    ]
    assert found == []
