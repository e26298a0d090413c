"""Errors: the library names arguments, the command its options."""

import ast
import re
from pathlib import Path

import pytest
import torch as th
import typer
from typer.testing import CliRunner

from ardae_rl.cli import main, world_model
from ardae_rl.cli.commands import set_threads
from ardae_rl.cli.errors import one_line_errors, option_names
from ardae_rl.sac_ardae.policies import SACARDAEPolicy
from ardae_rl.version import __version__

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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            TypeError("SAC.__init__() got an unexpected keyword argument 'learnin_rate'"),
            "SAC.__init__() got an unexpected keyword argument 'learnin_rate'; close matches: learning_rate",
        ),
        (
            TypeError(f"{SACARDAEPolicy.__name__}.__init__() got an unexpected keyword argument 'net_arc'"),
            "SACARDAEPolicy.__init__() got an unexpected keyword argument 'net_arc'",
        ),
        (
            TypeError(f"{SACARDAEPolicy.__name__}.__init__() got an unexpected keyword argument 'score_kwarg'"),
            "SACARDAEPolicy.__init__() got an unexpected keyword argument 'score_kwarg'; close matches: score_kwargs",
        ),
        (
            ValueError("`algo` must be one of 'sac', 'sac_ardae', 'ppo', got 'sac_adrae'"),
            "--algo must be one of 'sac', 'sac_ardae', 'ppo', got 'sac_adrae'; close matches: sac_ardae",
        ),
        (
            AssertionError(
                "The algorithm only supports (<class 'gymnasium.spaces.box.Box'>,) as action spaces but Discrete(2) "
                "was provided"
            ),
            "--env must have Box actions for this algorithm, got Discrete(2)",
        ),
        (
            ValueError("`action_space` must be a Box (continuous actions), got Discrete(2)"),
            "--env must have Box actions for this algorithm, got Discrete(2)",
        ),
        (
            ValueError("`action_space` must be a bounded Box with one axis, got Discrete(2)"),
            "the action space of --env must be a bounded Box with one axis, got Discrete(2)",
        ),
        (TypeError("`-params n_envs` must be an integer, got 1.5"), "-params n_envs must be an integer, got 1.5\n"),
        (FileExistsError(17, "File exists", "a/b"), "File exists: a/b"),
        (EOFError("No data left in file"), "a file is empty, truncated or of the wrong kind: No data left in file"),
    ],
)
def test_errors_of_other_libraries(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    import stable_baselines3  # noqa: F401 (whose algorithms are looked at)

    assert line_of(error, capsys).startswith(f"error: {line}")


def test_traceback_on_demand() -> None:
    with pytest.raises(ValueError, match="wrong"), one_line_errors(main.evaluate, debug=True):
        raise ValueError("wrong")


def test_every_command_has_the_common_options() -> None:
    for app, name in ((main.app, "train"), (main.app, "evaluate"), (world_model.app, "dream")):
        text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
        assert "--debug" in text and "--threads" in text, name


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "--algo", "sac"], "Missing option '--env'"),
        (["evaluate", "--algos", "sac"], "No such option: --algos"),
        (["evalute"], "No such command 'evalute'."),
        (["plot", "x", "--window", "many"], "Invalid value for '--window'"),
        (["plot", "x", "--threads", "-1"], "--threads must be >= 0, got -1"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ardae-rl", *arguments])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith(f"error: {line}") and text.count("\n") == 1


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ardae-rl", "--version"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 0 and capsys.readouterr().out == f"ardae-rl {__version__}\n"


@pytest.mark.parametrize(("variable", "threads", "expected"), [("3", None, 2), (None, None, 1), ("3", 1, 1)])
def test_threads(variable: str | None, threads: int | None, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, unless an option or the environment says otherwise."""
    before = th.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    th.set_num_threads(2)
    try:
        set_threads(threads)
        assert th.get_num_threads() == expected
    finally:
        th.set_num_threads(before)
