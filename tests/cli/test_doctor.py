"""The report on an installation, and the help of the commands."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ardae_rl.cli import doctor
from ardae_rl.cli.main import app
from tests.conftest import ROOT


def test_report_names_versions_extras_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.EXTRAS, "flows", ("zuko", "no_such_module"))
    report = CliRunner().invoke(app, ["doctor"]).stdout
    assert re.search(r"^  torch: \d", report, re.MULTILINE)
    assert "flows: missing no_such_module: pip install 'ardae-rl[flows]'" in report
    assert "plots: installed" in report
    assert re.search(r"^  cpu: \d+ cores", report, re.MULTILINE)
    assert re.search(r"^  matrix products: [1-9]\d* GFLOP/s", report, re.MULTILINE)


@pytest.mark.parametrize(
    ("speeds", "text"),
    [
        ((100.0, 140.0), "100 GFLOP/s"),
        ((100.0, 209.0), "100 GFLOP/s; oneDNN reaches 209. On AMD processors: docs/performance.md, 'AMD processors'"),
    ],
)
def test_slow_matrix_products(speeds: tuple[float, float], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remaining = iter(speeds)
    monkeypatch.setattr(doctor, "_gflops", lambda product: next(remaining))
    assert doctor._matrix_products() == text
    assert next(remaining, None) is None, "both libraries are measured"


def test_speed_of_a_known_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two products of 2 * 256³ operations; the fastest of five measurements takes half a second."""
    clock = iter([0.0, 3.0, 10.0, 12.0, 20.0, 20.5, 30.0, 31.0, 40.0, 44.0])
    monkeypatch.setattr(doctor.time, "process_time", lambda: next(clock))
    calls: list[int] = []
    speed = doctor._gflops(lambda: calls.append(1), n_repeats=2)
    assert speed == pytest.approx(2 * 2 * 256**3 / 0.5 / 1e9) and len(calls) == 10


def test_all_extras_are_known() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"all", "dev", "docs", "tests"}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_parses(name: str) -> None:
    command = COMMANDS[name]
    example = re.fullmatch(rf"Example: ardae-rl {name}( .*)?", command.epilog)
    assert example is not None
    arguments = (example[1] or "").partition(">")[0].split()
    command.make_context(name, arguments, resilient_parsing=False)
