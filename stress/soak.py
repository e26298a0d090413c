"""Memory, files and processes of algorithms that run for a long time."""

import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3 import SAC

from ardae_rl import AIRL, SACARDAE, WorldModels
from ardae_rl.irl import collect_demonstrations

_TOLERANCE = 0.05  # of relative memory growth over the second half
_FEWEST_ROUNDS = 4  # so that there is a second half
_SMALL: dict[str, Any] = {"buffer_size": 1000, "learning_starts": 100, "device": "cpu", "seed": 0}


def _sac_ardae() -> Callable[[], Any]:
    model = SACARDAE("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [32, 32]}, score_warmup=10, **_SMALL)
    return lambda: model.learn(100, reset_num_timesteps=False)


def _airl() -> Callable[[], Any]:
    demos = collect_demonstrations(SAC("MlpPolicy", "Pendulum-v1", buffer_size=1), gym.make("Pendulum-v1"), 2)
    kwargs = {"buffer_size": 1000, "learning_starts": 100, "batch_size": 32}
    model = AIRL("MlpPolicy", "Pendulum-v1", demos, "sac", kwargs, policy_kwargs={"net_arch": [32, 32]}, device="cpu")
    return lambda: model.learn(200, reset_num_timesteps=False)


def _collection() -> Callable[[], Any]:
    small = {"z_dim": 4, "vision_width": 4, "memory_hidden": 8}

    def make_env() -> gym.Env[Any, Any]:
        return gym.make("ardae/CarRacingFast-v0", max_episode_steps=20)

    def collect() -> None:
        with tempfile.TemporaryDirectory() as folder:
            WorldModels(
                "CnnPolicy",
                "CarRacing-v3",
                folder,
                n_episodes=4,
                n_envs=2,
                collection_env=make_env,
                policy_kwargs=small,
            ).collect()

    return collect


ALGORITHMS = {"SACARDAE": _sac_ardae, "AIRL": _airl, "WorldModels.collect": _collection}


def run(count: float, seed: int) -> list[dict[str, Any]]:
    """Run all algorithms at once for ``count`` minutes, and measure what the process of each one holds."""
    with ProcessPoolExecutor(len(ALGORITHMS), multiprocessing.get_context("spawn")) as pool:
        held = pool.map(_soak, ALGORITHMS, repeat(count), repeat(seed))
        return [
            {"algorithm": name, "minutes": count, "seed": seed} | row
            for name, row in zip(ALGORITHMS, held, strict=True)
        ]


def _soak(name: str, minutes: float, seed: int) -> dict[str, Any]:
    th.set_num_threads(1)
    th.manual_seed(seed)
    shared_before = _shared_memory()
    work = ALGORITHMS[name]()
    work()  # allocates what is allocated only once
    held = [_held(shared_before)]
    begin = time.monotonic()
    while (time.monotonic() - begin) / 60 < minutes:
        work()
        held.append(_held(shared_before))
    return judged(held)


def judged(held: list[dict[str, float]]) -> dict[str, Any]:
    """Return the resources held after the last round, and whether they are more than after the middle one.

    :param held: Resources held before the first round and after each.
    """
    rounds, middle, last = len(held) - 1, held[len(held) // 2], held[-1]
    growth = last["megabytes"] / middle["megabytes"] - 1
    notes = [kind for kind in ("files", "processes", "shared_memory") if last[kind] > middle[kind]]
    if rounds < _FEWEST_ROUNDS:
        notes.append("too few rounds")
    return (
        {"rounds": rounds}
        | last
        | {
            "growth_percent": round(100 * growth, 2),
            "wrong": int(growth > _TOLERANCE) + len(notes),
            "note": "; ".join(notes),
        }
    )


def _held(shared_before: set[str]) -> dict[str, float]:
    """Return resident memory, and the numbers of open files, child processes and new entries of shared memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "megabytes": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "processes": len(children),
        "shared_memory": len(_shared_memory() - shared_before),
    }


def _shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").iterdir()}
