"""What one gradient step costs, as a multiple of Stable-Baselines3's SAC.

    python -m benchmarks.sac_update [--repeats 30] [--cases sac,sac_ardae,sac_ardae_paper]

HalfCheetah's sizes (17 observations, 6 actions), batch 256, one thread, a replay buffer of random transitions.
The cases take turns in one process, so that a change of the machine's speed meets all of them alike; CPU time stands
beside wall time because other work on the machine lengthens only the latter. Written to results/sac_update.csv.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from benchmarks.common import RESULTS, make_model, merge_csv, versions
from benchmarks.presets import ZOO_CONFIGS, load_preset

OBSERVATION_DIM, ACTION_DIM, BATCH_SIZE = 17, 6, 256
BUFFER_SIZE, WARM_UP = 5_000, 3
CASES = ("sac", "sac_ardae", "sac_ardae_paper")


class HalfCheetahSizes(gym.Env[np.ndarray, np.ndarray]):
    """Only the spaces matter here: transitions are random and never come from a simulator."""

    observation_space = spaces.Box(-np.inf, np.inf, shape=(OBSERVATION_DIM,), dtype=np.float32)
    action_space = spaces.Box(-1.0, 1.0, shape=(ACTION_DIM,), dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(OBSERVATION_DIM, dtype=np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(OBSERVATION_DIM, dtype=np.float32), 0.0, False, False, {}


def make_case(case: str) -> OffPolicyAlgorithm:
    """A model with a filled replay buffer that is ready for `train`."""
    arguments: dict[str, Any] = {}
    if case == "sac":
        arguments["policy_kwargs"] = {"net_arch": [256, 256]}
    elif case == "sac_ardae_paper":
        arguments = load_preset(ZOO_CONFIGS / "sac_ardae_paper.yml", "HalfCheetah-v5")
    arguments |= {"buffer_size": BUFFER_SIZE, "seed": 0}
    model = make_model(case.removesuffix("_paper"), HalfCheetahSizes(), **arguments)
    model.set_logger(Logger(folder=None, output_formats=[]))
    rng = np.random.default_rng(0)
    buffer: Any = model.replay_buffer
    for _ in range(BUFFER_SIZE):
        obs, next_obs = rng.standard_normal((2, 1, OBSERVATION_DIM)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, ACTION_DIM)).astype(np.float32)
        buffer.add(obs, next_obs, action, rng.standard_normal(1), np.zeros(1), [{}])
    return model


def time_updates(models: dict[str, OffPolicyAlgorithm], repeats: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) milliseconds of one gradient step of each model."""
    times: dict[str, list[tuple[float, float]]] = {case: [] for case in models}
    for repeat in range(WARM_UP + repeats):
        for case, model in models.items():
            wall, cpu = time.perf_counter(), time.process_time()
            model.train(1, BATCH_SIZE)
            if repeat >= WARM_UP:
                times[case].append((1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)))
    return {case: (statistics.median(w for w, _ in t), statistics.median(c for _, c in t)) for case, t in times.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--cases", default=",".join(CASES), help="'sac' must be among them")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    cases = options.cases.split(",")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: at least 1")
    if "sac" not in cases or set(cases) - set(CASES):
        parser.error(f"--cases {options.cases}: accepted are 'sac' and any of {', '.join(CASES[1:])}")

    th.set_num_threads(1)
    console = Console()
    models = {}
    for case in cases:
        try:
            models[case] = make_case(case)
        except FileNotFoundError as error:
            console.print(f"{case} left out: no {error.filename}")
    with console.status(f"{options.repeats} gradient steps of each of {', '.join(models)}"):
        medians = time_updates(models, options.repeats)

    table = Table("case", "wall ms", "CPU ms", "wall / SAC", "CPU / SAC", title="One gradient step, median")
    rows = []
    for case, (wall, cpu) in medians.items():
        ratios = wall / medians["sac"][0], cpu / medians["sac"][1]
        table.add_row(case, f"{wall:.1f}", f"{cpu:.1f}", *(f"{ratio:.2f}" for ratio in ratios))
        measured = dict(zip(("wall_ms", "cpu_ms", "wall_ratio", "cpu_ratio"), (wall, cpu, *ratios), strict=True))
        setting = {"batch_size": BATCH_SIZE, "repeats": options.repeats, "threads": th.get_num_threads()}
        rows.append({"case": case} | {k: f"{v:.3f}" for k, v in measured.items()} | setting | versions())
    console.print(table)
    path = options.out / "sac_update.csv"
    merge_csv(path, rows, key=["case"])
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
