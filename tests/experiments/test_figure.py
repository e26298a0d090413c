"""The framework of the experiments: arguments checked first, runs made once, table and plot written."""

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import torch as th
from typer.testing import CliRunner

from ardae_rl.cli.main import app
from ardae_rl.runs.jobs import Workers, make_run
from ardae_rl.runs.tables import read_csv
from experiments import figure
from experiments.__main__ import app as experiments_app
from experiments.ardae_paper import fig_s2
from experiments.catalog import EXPERIMENTS, load
from experiments.figure import run_experiment
from experiments.options import parse_options

# Experiments whose smallest run takes more than a few seconds
HEAVY = {
    "dvbf_control",
    "e2c_control",
    "fig4",
    "figS4",
    "imitation",
    "imitation_ablation",
    "imitation_transfer",
    "latent_control",
    "population",
    "sac_update",
    "stacked_control",
    "world_model_ablation",
}


@contextmanager
def _this_process(jobs: int) -> Iterator[Workers]:
    """Make the runs here, one after the other: a new process takes seconds to import torch."""
    reports: Queue[tuple[str, int, int, str]] = Queue()

    def submit(function: Any, settings: dict[str, Any], folder: Path) -> Future[str]:
        future: Future[str] = Future()
        try:
            future.set_result(make_run(function, settings, folder, reports))
        except Exception as error:
            future.set_exception(error)
        return future

    yield Workers(submit, reports)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    n_threads = th.get_num_threads()
    monkeypatch.chdir(tmp_path)
    yield
    th.set_num_threads(n_threads)


def _parameters() -> list[Any]:
    return [pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in EXPERIMENTS]


@pytest.mark.parametrize("name", _parameters())
def test_smallest_budget(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "processes", _this_process)
    written = run_experiment(name, "smoke", out=tmp_path / "out")
    rows = read_csv(written[0])
    assert rows and {"torch", "ardae_rl"} <= set(rows[0])
    if load(name).draw is not None:
        assert written[1].stat().st_size > 5_000
    if load(name).summary_key:
        assert set(load(name).summary_key) < set(read_csv(written[-1])[0])
    before = [len(read_csv(path)) for path in written if path.suffix == ".csv"]
    run_experiment(name, "smoke", out=tmp_path / "out")
    assert [len(read_csv(path)) for path in written if path.suffix == ".csv"] == before, "repetitions replace rows"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "NAME must be one of 'fig2', 'figS1', 'fig3', 'figS2', 'fig4', 'figS4', 'fig5', 'fig7'"),
        (["fig3", "--budget", "long"], "--budget must be one of 'smoke', 'quick', 'paper', got 'long'"),
        (["fig3", "--seeds", "0"], "--seeds must be >= 1, got 0"),
        (["fig3", "--jobs", "0"], "--jobs must be >= 1, got 0"),
    ],
)
@pytest.mark.parametrize("command", [(app, ["reproduce"]), (experiments_app, ["run"])], ids=["ardae-rl", "python -m"])
def test_bad_arguments(command: tuple[Any, list[str]], arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(command[0], [*command[1], *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not any(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize("command", [(app, ["reproduce"]), (experiments_app, ["run"])], ids=["ardae-rl", "python -m"])
@pytest.mark.parametrize("out", ["file", "file/x"])
def test_a_file_as_output_folder_is_refused_before_any_run(
    command: tuple[Any, list[str]], out: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(command[0], [*command[1], "figS2", "--budget", "smoke", "--out", out])
    assert result.exit_code == 2
    assert f"--out must be a folder, got {out}, which is a file or below a file" in " ".join(result.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "no run was started"


def test_reproduce_outside_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "experiments.figure", None)  # as if it were not installed
    result = CliRunner().invoke(app, ["reproduce", "fig3"])
    assert result.exit_code == 2
    assert "needs a checkout of the repository: clone it;" in result.stderr
    assert "python -m experiments run fig3" in result.stderr and result.stderr.count("\n") == 1


def test_list() -> None:
    result = CliRunner().invoke(experiments_app, ["list"])
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == list(EXPERIMENTS)


def test_every_experiment_has_settings_for_its_budgets() -> None:
    for name in EXPERIMENTS:
        experiment = load(name)
        assert list(experiment.seeds)[:2] == ["smoke", "quick"]
        for budget, n_seeds in experiment.seeds.items():
            try:
                runs = experiment.runs(budget, n_seeds)
            except (ValueError, FileNotFoundError) as error:  # need files that other commands make, or MNIST's
                assert "`folder` must have" in str(error) or "of MNIST" in str(error)
                continue
            assert len({settings["name"] for settings in runs}) == len(runs) > 0


def test_a_figure_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make three updates; the second command finds all runs finished."""
    quick: dict[str, Any] = {"n_updates": 3, "width": 8, "n_sigmas": 2}
    monkeypatch.setitem(fig_s2.BUDGETS, "quick", quick)
    for already in (0, 2):
        result = CliRunner().invoke(app, ["reproduce", "figS2", "--seeds", "1", "--jobs", "1", "--out", "out"])
        assert result.exit_code == 0, result.output
        assert f"2 runs, {already} already finished" in result.output
        assert "AR-DAE (|σ|)" in result.output
    rows = read_csv(tmp_path / "out" / "figS2_quick.csv")
    assert len(rows) == 6 and {"method", "seed", "sigma", "error", "torch", "ardae_rl"} <= set(rows[0])
    assert (tmp_path / "out" / "figS2_quick.png").stat().st_size > 10_000


@pytest.mark.parametrize("text", ["methods=sac,sac", "methods=", "methods=,", "n_updates=1,2,1.0"])
def test_values_of_an_option_are_there_and_differ(text: str) -> None:
    def runs(
        budget: str,
        n_seeds: int,
        *,
        methods: tuple[str, ...] = ("sac", "td3"),
        n_updates: tuple[float, ...] = (1.0,),
        arguments: tuple[str, ...] = (),
    ) -> list[dict[str, Any]]:
        raise AssertionError

    name, _, values = text.partition("=")
    with pytest.raises(ValueError, match=rf"`{name}` must have one value or several different ones, got '{values}'"):
        parse_options(runs, [text])
    wanted = parse_options(runs, ["methods=td3, sac", "arguments="])
    assert wanted == {"methods": ("td3", "sac"), "n_updates": (1.0,), "arguments": ()}


def test_a_failing_run_stops_only_those_that_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has the others, and the next command replaces it by the whole one."""
    fails = {"shared bad", "alone bad"}

    def work(settings: dict[str, Any], run: Any) -> list[dict[str, Any]]:
        if settings["name"] in fails:
            raise RuntimeError("on purpose")
        return [{"name": settings["name"]}]

    def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
        shared = [{"name": f"shared {kind}"} for kind in ("good", "bad")]
        return [
            *({"name": f"after {needs['name']}", "needs": needs} for needs in shared),
            *({"name": f"alone {kind}"} for kind in ("bad", "good")),
        ]

    def draw(results: Any, path: Path) -> None:
        path.touch()

    def prepare(settings: dict[str, Any], run: Any) -> None:
        work(settings, run)

    experiment = figure.Figure(runs, work, ("name",), {"smoke": 1, "quick": 1}, draw, prepare)
    monkeypatch.setattr(figure, "load", lambda name: experiment)
    monkeypatch.setattr(figure, "processes", _this_process)
    message = r"2 of 4 runs failed \(after shared bad, alone bad\); .* continues them; out/x_quick\.csv has the others"
    with pytest.raises(RuntimeError, match=message):
        run_experiment("x", out=Path("out"))
    assert [row["name"] for row in read_csv(Path("out/x_quick.csv"))] == ["after shared good", "alone good"]
    assert not Path("out/x_quick.png").exists()
    fails.clear()
    table, plot = run_experiment("x", out=Path("out"))
    assert len(read_csv(table)) == 4 and plot.exists()


def test_failed_runs_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fig_s2.BUDGETS, "quick", {"n_updates": 3, "width": -1, "n_sigmas": 2})
    monkeypatch.setattr(figure, "processes", _this_process)
    with pytest.raises(RuntimeError, match=r"2 of 2 runs failed \(.*\); the same command continues them"):
        run_experiment("figS2", "quick", 1, 1, tmp_path / "out")
