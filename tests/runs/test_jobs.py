"""Runs: skipped when finished, continued when interrupted, one failure not stopping the others."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl.common.training import Stateful
from ardae_rl.runs.jobs import Workers, failure, finished, processes, run_missing
from ardae_rl.runs.run import Records, Run
from ardae_rl.runs.tables import merge_csv, read_csv, write_csv
from tests.conftest import TIMEOUT, is_running, wait_until


class Walk:
    """A training in small: parameters, an optimizer, records and random numbers."""

    def __init__(self) -> None:
        th.manual_seed(0)
        self.layer = th.nn.Linear(3, 1)
        self.optimizer = th.optim.Adam(self.layer.parameters())
        self.records = Records()

    def steps(self, at: Run, n: int = 12) -> Iterator[int]:
        parts: dict[str, Stateful] = {"layer": self.layer, "optimizer": self.optimizer, "records": self.records}
        for step in at.steps(n, parts, every=5):
            self.optimizer.zero_grad()
            loss = self.layer(th.randn(4, 3)).square().mean()
            loss.backward()
            self.optimizer.step()
            self.records.append({"step": step, "loss": loss.item()})
            yield step


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = Walk()
    assert list(whole.steps(Run(tmp_path / "whole"))) == list(range(12))

    for step in Walk().steps(Run(tmp_path / "cut")):
        if step == 8:  # after the checkpoint of five steps
            break
    cut = Walk()
    assert list(cut.steps(Run(tmp_path / "cut"))) == list(range(5, 12))
    assert cut.records == whole.records
    assert th.equal(cut.layer.weight, whole.layer.weight)
    assert list(Walk().steps(Run(tmp_path / "cut"))) == [], "nothing is left of a finished loop"


def _work(log: Path, settings: dict[str, Any], at: Run) -> str:
    with log.open("a") as file:
        file.write(f"{settings['name']}\n")
    if settings.get("fails"):
        raise RuntimeError("as told")
    (at.folder / "result.txt").write_text(str(settings["value"]))
    return settings["name"]


def _folder(root: Path, settings: dict[str, Any]) -> Path:
    return root / settings["name"]


def test_runs_are_made_once_for_their_settings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"

    def make(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return run_missing(partial(_work, log), partial(_folder, tmp_path), runs, processes(jobs=2))

    good, bad = {"name": "good", "value": 1}, {"name": "bad", "value": 2, "fails": True}
    assert make([good, bad]) == [good]
    assert "RuntimeError: as told" in capfd.readouterr().err
    assert finished(tmp_path / "good", good) and not finished(tmp_path / "bad", bad)
    assert failure(tmp_path / "good") is None
    assert (failure(tmp_path / "bad") or "").endswith("RuntimeError: as told\n")

    (tmp_path / "good" / "left.pt").touch()
    assert make([good]) == [good]
    assert sorted(log.read_text().split()) == ["bad", "good"], "the finished run is not made again"
    other = {"name": "good", "value": 3}
    assert make([other]) == [other]
    assert (tmp_path / "good" / "result.txt").read_text() == "3"
    assert not (tmp_path / "good" / "left.pt").exists(), "what other settings left is no checkpoint"


def _write_pid_and_wait(settings: dict[str, Any], at: Run) -> str:
    (at.folder / "pid").write_text(str(os.getpid()))
    time.sleep(2 * TIMEOUT)  # until it is killed
    return "waited"


@contextmanager
def _with_pid_of_manager(path: Path) -> Iterator[Workers]:
    with processes(jobs=1) as workers:
        (manager,) = multiprocessing.active_children()  # the pool starts its own with the first run
        path.write_text(str(manager.pid))
        yield workers


def _run_long(root: Path) -> None:
    run_missing(_write_pid_and_wait, partial(_folder, root), [{"name": "long"}], _with_pid_of_manager(root / "manager"))


def test_what_a_command_starts_ends_with_it(tmp_path: Path) -> None:
    """Else workers would go on writing where the next command has begun to."""
    command = multiprocessing.get_context("spawn").Process(target=_run_long, args=(tmp_path,))
    command.start()
    pid = tmp_path / "long" / "pid"
    assert wait_until(lambda: pid.exists() and pid.read_text() != "")
    command.kill()
    assert wait_until(lambda: not is_running(int(pid.read_text())))
    assert wait_until(lambda: not is_running(int((tmp_path / "manager").read_text())))


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert read_csv(path) == []
    write_csv(path, [{"seed": 0, "value": 1.5}, {"seed": 1, "value": 2.5}])
    merge_csv(path, [{"seed": 1, "value": 3.5}, {"seed": 2, "value": 4.5}], key=["seed"])
    assert [(row["seed"], row["value"]) for row in read_csv(path)] == [("0", "1.5"), ("1", "3.5"), ("2", "4.5")]
    with pytest.raises(ValueError, match="must have the columns"):
        merge_csv(path, [{"seed": 1}], key=["seed"])
