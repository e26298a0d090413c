"""Evaluators in processes and Ray actors: they give the same results, and end with their parent."""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ardae_rl.world_models.evolution import Evaluator, ProcessEvaluator, RayEvaluator, process_evaluator
from tests.conftest import TIMEOUT, is_running, wait_until
from tests.world_models.evolution_toys import EXITS, FAILS, drifting, parameters

SEEDS = [3, 1, 4, 15]


def check_equal_to_one_process(evaluator: Evaluator) -> None:
    """Compare evaluations before and after an update."""
    one = drifting()
    for gain in (1.0, 0.5):
        for each in (one, evaluator):
            each.update({"gain": gain})
        for expected, result in (
            (one.evaluate(parameters(), SEEDS), evaluator.evaluate(parameters(), SEEDS)),
            (one.evaluate(parameters(1), [5]), evaluator.evaluate(parameters(1), [5])),  # fewer than workers
        ):
            for own, other in zip(result, expected, strict=True):
                np.testing.assert_array_equal(own, other)


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that workers on a busy machine are not killed
    monkeypatch.setattr(process_evaluator, "_SECONDS_TO_END", TIMEOUT)
    with ProcessEvaluator(partial(drifting, 2), n_workers=2) as evaluator:
        workers = list(evaluator._processes.values())
        check_equal_to_one_process(evaluator)
        with pytest.raises(ValueError, match=r"`parameters` must have shape .*, got \(.*, 7\)") as caught:
            evaluator.evaluate(np.zeros((2, 7)), SEEDS)
    assert any("In a worker process:" in note and "rollout_evaluator.py" in note for note in caught.value.__notes__)
    assert [worker.exitcode for worker in workers] == [0, 0], "ended by themselves"
    with pytest.raises(RuntimeError, match="the workers have ended"):
        evaluator.evaluate(parameters(), SEEDS)


def _broken() -> Evaluator:
    raise OSError("no such environment")


@pytest.mark.parametrize(
    ("make", "first", "kind", "message"),
    [
        (drifting, FAILS, ZeroDivisionError, "as told"),
        (drifting, EXITS, RuntimeError, r"worker process \d+ ended with exit code 7"),
        (_broken, 0.0, OSError, "no such environment"),
    ],
)
def test_errors_of_workers(make: Any, first: float, kind: type[Exception], message: str) -> None:
    candidates = parameters()
    candidates[2, 0] = first
    with ProcessEvaluator(make, n_workers=1) as evaluator, pytest.raises(kind, match=message):
        evaluator.evaluate(candidates, SEEDS)
    assert multiprocessing.active_children() == []


def test_ctrl_c_while_workers_start() -> None:
    """They ignore it from the start, because the parent ends them; the parent's own handling is unchanged."""
    before = signal.getsignal(signal.SIGINT)
    with ProcessEvaluator(drifting, n_workers=1) as evaluator:
        assert signal.getsignal(signal.SIGINT) is before
        for worker in evaluator._processes.values():
            os.kill(worker.pid, signal.SIGINT)
        assert evaluator.evaluate(parameters(), SEEDS).returns.shape[1] == len(SEEDS)


def _make_slow(pid: Path) -> Evaluator:
    pid.write_text(str(os.getpid()))
    time.sleep(2 * TIMEOUT)  # until it is killed
    return drifting()


def _evaluate_slowly(pid: Path) -> None:
    ProcessEvaluator(partial(_make_slow, pid), 1).evaluate(parameters(), SEEDS)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """This also holds while they work."""
    pid = tmp_path / "pid"
    parent = multiprocessing.get_context("spawn").Process(target=_evaluate_slowly, args=(pid,))
    parent.start()
    assert wait_until(lambda: pid.exists() and pid.read_text() != "")
    parent.kill()
    assert wait_until(lambda: not is_running(int(pid.read_text())))
    parent.join()


def test_ray(local_cluster: None) -> None:
    """With two actors, which continue to work after an error."""
    failing = parameters()
    failing[2, 0] = FAILS
    with RayEvaluator(partial(drifting, 2), n_workers=2) as evaluator:
        check_equal_to_one_process(evaluator)
        with pytest.raises(ZeroDivisionError, match="as told"):
            evaluator.evaluate(failing, SEEDS)
        check_equal_to_one_process(evaluator)


@pytest.mark.parametrize("kind", [ProcessEvaluator, RayEvaluator])
def test_bad_arguments(kind: Any) -> None:
    with pytest.raises(ValueError, match="`n_workers` must be >= 1, got 0"):
        kind(drifting, 0)
