"""Steps per second of CarRacing's renderers, as multiples of the official one.

The environments take turns in one process, so that a change of the machine's speed affects all of them equally. The
driver weaves and accelerates now and then, so that the car sometimes leaves the road. Episodes have 1000 steps and
start with the zoom. The option `workers` adds a SubprocVecEnv with that many processes. Rates are medians over rounds.
"""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import ardae_envs  # noqa: F401 (registers our environments)
from ardae_rl.common.checks import check_count
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure
from experiments.timing.rates import median_rates

IDS = ("CarRacing-v3", "ardae/CarRacingFast-v0", "ardae/CarRacingLowRes-v0")
BUDGETS = {"smoke": {"rounds": 1, "steps": 3}, "quick": {"rounds": 5, "steps": 300}}


class Single:
    """An environment that continues where the last round ended."""

    def __init__(self, env_id: str) -> None:
        self.env: gym.Env[Any, Any] = gym.make(env_id)
        self.env.reset(seed=0)
        self.n_steps = 0

    def run(self, steps: int) -> int:
        for _ in range(steps):
            *_, terminated, truncated, _ = self.env.step(action(self.n_steps))
            self.n_steps += 1
            if terminated or truncated:
                self.env.reset()
        return steps


class Parallel:
    """Environments in processes of their own, which continue where the last round ended."""

    def __init__(self, env_id: str, n: int) -> None:
        # The processes import ardae_envs, which registers our environments
        self.env = make_vec_env(f"ardae_envs:{env_id}", n_envs=n, seed=0, vec_env_cls=SubprocVecEnv)
        self.env.reset()
        self.n_steps = 0

    def run(self, steps: int) -> int:
        for _ in range(steps):
            self.env.step(np.tile(action(self.n_steps), (self.env.num_envs, 1)))
            self.n_steps += 1
        return steps * self.env.num_envs


def action(step: int) -> Any:
    """Return the driver's action: steering, gas, brake."""
    return np.array([np.sin(step / 40), 0.15 if step % 100 < 60 else 0.0, 0.0], dtype=np.float32)


def runs(budget: str, n_seeds: int, *, workers: int = 0) -> list[dict[str, Any]]:
    check_count("workers", workers, 0)
    return [{"name": f"{n} workers", "workers": n} | BUDGETS[budget] for n in (1, workers) if n]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Time all environments, either in this process or in processes of their own."""
    workers, n_rounds, steps = settings["workers"], settings["rounds"], settings["steps"]
    if workers == 1:
        rates = median_rates({env_id: partial(Single(env_id).run, steps) for env_id in IDS}, n_rounds, run)
    else:
        parallel = {env_id: Parallel(env_id, workers) for env_id in IDS}
        rates = median_rates({env_id: partial(envs.run, steps) for env_id, envs in parallel.items()}, n_rounds, run)
        for envs in parallel.values():
            envs.env.close()
    key = {"rounds": n_rounds, "steps": steps}
    return [
        {"env": env_id, "workers": workers, "steps_per_second": f"{rate:.1f}", "ratio": f"{rate / rates[IDS[0]]:.2f}"}
        | key
        for env_id, rate in rates.items()
    ]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("env", "workers", "steps_per_second", "ratio"),
    seeds={"smoke": 0, "quick": 0},
    key=("env", "workers", "rounds", "steps"),
    timed=True,
)
