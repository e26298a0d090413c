"""Shared by all tests: one thread per process, the command line as users call it, waiting, and a local Ray cluster."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# One thread per worker, and per process that a test starts: small networks gain nothing from more threads,
# and the workers of pytest-xdist would compete for the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.registry import algorithm_class

th.set_num_threads(1)

ROOT = Path(__file__).parent.parent
SEARCH_PATH = os.pathsep.join(map(str, (ROOT, ROOT / "envs")))  # PYTHONPATH of processes that tests start
TIMEOUT = 600.0  # seconds; only a hung process takes that long, even on an overloaded machine
Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compile", action="store_true", help="train small models of SACARDAE with compile=True")


@pytest.fixture(autouse=True)
def few_compiled_functions(request: pytest.FixtureRequest) -> None:
    """Forget compiled functions before each test: torch compiles a function for a limited number of models only."""
    if request.config.getoption("--compile"):
        th.compiler.reset()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--compile"):
        from tests.sac_ardae import small

        small.ARGUMENTS["compile"] = True


def untrained(algo: str, env: Any = "Pendulum-v1", **arguments: Any) -> BaseAlgorithm:
    """Return a small, new model of any registered algorithm."""
    algorithm: Any = algorithm_class(algo)
    return algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, **arguments)


def is_running(pid: int) -> bool:
    """Tell whether a process exists and has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")  # a zombie has ended
    return not (status.exists() and "State:\tZ" in status.read_text())


def wait_until(condition: Callable[[], bool]) -> bool:
    """Wait until ``condition`` holds, at most for ``TIMEOUT`` seconds; return whether it does."""
    end = time.monotonic() + TIMEOUT
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return holds


@pytest.fixture
def ardae_rl(tmp_path: Path) -> Command:
    """Run ``ardae-rl ARGUMENTS...`` in an empty folder, in a process of its own: RL Zoo changes Gymnasium's state."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([SEARCH_PATH, os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "ardae_rl", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    return run


@pytest.fixture
def local_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray cluster of two workers on this machine, which can import the tests."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", f"{TIMEOUT:.0f}")
    environment = {"env_vars": {"PYTHONPATH": SEARCH_PATH}}

    def started() -> bool:
        try:
            ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        except Exception:  # Ray waits 30 seconds for its own processes, which a busy machine may exceed
            ray.shutdown()
        return bool(ray.is_initialized())

    assert wait_until(started)
    yield
    ray.shutdown()
