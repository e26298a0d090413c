"""Steps per second of CarRacing's renderers, as multiples of the official one.

    python -m experiments.car_racing [--rounds 5] [--steps 300]

The environments take turns in one process, `--steps` steps at a time, so that a change of the machine's speed meets all
alike; the driver weaves with some gas, so that the car leaves the road now and then. Episodes of 1000 steps, with the
zoom at their start. `--workers` adds a SubprocVecEnv of so many processes. Written to results/car_racing.csv: medians
over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.progress import track
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import ardae_envs  # noqa: F401 (registers our environments)
from ardae_rl.runs.tables import print_table, versions, write_csv
from experiments.common import RESULTS

IDS = ("CarRacing-v3", "ardae/CarRacingFast-v0", "ardae/CarRacingLowRes-v0")


class Single:
    """An environment that goes on where the last round left it."""

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


class Workers:
    """The same in processes of their own."""

    def __init__(self, env_id: str, n: int) -> None:
        self.env = make_vec_env(env_id, n_envs=n, seed=0, vec_env_cls=SubprocVecEnv)
        self.env.reset()
        self.n_steps = 0

    def run(self, steps: int) -> int:
        for _ in range(steps):
            self.env.step(np.tile(action(self.n_steps), (self.env.num_envs, 1)))
            self.n_steps += 1
        return steps * self.env.num_envs


def action(step: int) -> Any:
    return np.array([np.sin(step / 40), 0.15 if step % 100 < 60 else 0.0, 0.0], dtype=np.float32)


def measure(cases: dict[tuple[str, int], Callable[[int], int]], rounds: int, steps: int) -> list[dict[str, Any]]:
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for _ in track(range(rounds), description="rounds"):
        for case, run in cases.items():
            start = time.perf_counter()
            n = run(steps)
            rates[case].append(n / (time.perf_counter() - start))
    medians = {case: statistics.median(values) for case, values in rates.items()}
    rows = []
    for (env_id, workers), rate in medians.items():
        row = {"env": env_id, "workers": workers, "steps_per_second": f"{rate:.1f}"}
        row |= {"ratio": f"{rate / medians[IDS[0], workers]:.2f}", "rounds": rounds, "steps": steps}
        rows.append(row | versions())
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="of each environment in a round")
    parser.add_argument("--workers", type=int, default=0, help="processes of a SubprocVecEnv; 0 for none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    for name, least in {"rounds": 1, "steps": 1, "workers": 0}.items():
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: at least {least}")
    rows = measure({(env_id, 1): Single(env_id).run for env_id in IDS}, options.rounds, options.steps)
    if options.workers:
        cases = {(env_id, options.workers): Workers(env_id, options.workers) for env_id in IDS}
        rows += measure({case: workers.run for case, workers in cases.items()}, options.rounds, options.steps)
        for workers in cases.values():
            workers.env.close()
    write_csv(options.out / "car_racing.csv", rows)
    print_table([{k: row[k] for k in ("env", "workers", "steps_per_second", "ratio")} for row in rows], "CarRacing")


if __name__ == "__main__":
    main()
