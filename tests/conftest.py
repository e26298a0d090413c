"""Shared by all tests: one thread a process, the command line as users call it, and what became of a process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One thread a worker, and for the processes that tests start: small networks gain nothing from more,
# and the workers of pytest-xdist would fight for the cores.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.registry import algorithm_class

th.set_num_threads(1)

ROOT = Path(__file__).parent.parent
Command = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compile", action="store_true", help="train small models of SACARDAE with compile=True")


@pytest.fixture(autouse=True)
def few_compiled_functions(request: pytest.FixtureRequest) -> None:
    """Under --compile: torch compiles a function for so many models in one process, and for no more."""
    if request.config.getoption("--compile"):
        th.compiler.reset()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--compile"):
        from tests.sac_ardae import small

        small.ARGUMENTS["compile"] = True


def untrained(algo: str, env: Any = "Pendulum-v1", **arguments: Any) -> BaseAlgorithm:
    """A small fresh model of any of the registered algorithms."""
    algorithm: Any = algorithm_class(algo)
    return algorithm("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, **arguments)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")  # a zombie has ended
    return not (status.exists() and "State:\tZ" in status.read_text())


def within_a_minute(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


@pytest.fixture
def ardae_rl(tmp_path: Path) -> Command:
    """Run ``ardae-rl ARGUMENTS...`` in an empty folder, in a process of its own: RL Zoo changes Gymnasium's state."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "-m", "ardae_rl", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
