"""Runs through Ray: on a local cluster of two workers."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ardae_rl.runs.cluster import _collect, ray_workers
from ardae_rl.runs.jobs import run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.run_folder import failure, is_finished

pytest.importorskip("ray")


def _work(settings: dict[str, Any], run: Run) -> str:
    import torch as th

    run.report(1, 1)
    attempts = run.folder / "attempts.txt"
    done = len(attempts.read_text()) if attempts.exists() else 0
    attempts.write_text("x" * (done + 1))
    if done < settings["fails"]:
        raise RuntimeError("on purpose")
    (run.folder / "result.txt").write_text(f"{settings['value']} {th.get_num_threads()}")
    return settings["name"]


def _folder(root: Path, settings: dict[str, Any]) -> Path:
    return root / settings["name"]


def test_a_grid_on_two_workers(local_cluster: Any, tmp_path: Path) -> None:
    """Results are collected. A failed run is tried again; one that always fails is reported, and the others finish."""
    runs = [
        {"name": "first", "value": 1, "fails": 0},
        {"name": "second", "value": 2, "fails": 1},
        {"name": "never", "value": 3, "fails": 9},
    ]
    done = run_missing(_work, partial(_folder, tmp_path), runs, ray_workers())
    assert done == runs[:2]
    assert [(tmp_path / name / "result.txt").read_text() for name in ("first", "second")] == ["1 1", "2 1"]
    assert (tmp_path / "second" / "attempts.txt").read_text() == "xx"
    assert (tmp_path / "never" / "attempts.txt").read_text() == "xxx"
    assert "RuntimeError: on purpose" in (failure(tmp_path / "never") or "")


def test_files_come_back_from_other_machines(tmp_path: Path) -> None:
    from concurrent.futures import Future

    remote_future: Future[tuple[str, str, dict[str, bytes]]] = Future()
    local_future: Future[str] = Future()
    settings = {"name": "far"}
    remote_future.set_result(
        ("line", "another", {"finished.json": b'{"name": "far"}', "evaluations.csv": b"step\n1\n"})
    )
    _collect(remote_future, tmp_path / "far", local_future)
    assert local_future.result() == "line (another)"
    assert is_finished(tmp_path / "far", settings)
    assert (tmp_path / "far" / "evaluations.csv").read_text() == "step\n1\n"
