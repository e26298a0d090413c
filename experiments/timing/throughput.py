"""Environment steps per second of `learn()`, beside Stable-Baselines3's SAC.

    python -m experiments.timing.throughput [--env HalfCheetah-v5] [--rounds 10] [--steps 300]

Everything counts: the simulator, acting, the replay buffer, one gradient step for each environment step (batch 256, one
thread, hidden layers of 256). The algorithms take turns in one process, `--steps` environment steps at a time, so that
a change of the machine's speed meets all of them alike. Written to results/throughput.csv: medians over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ardae_rl import registry
from ardae_rl.runs.tables import merge_csv, versions
from experiments.common import RESULTS, make_model

LEARNING_STARTS = 300
CASES: dict[str, dict[str, Any]] = {
    "SB3 SAC": {"algo": "sac"},
    "SACARDAE": {"algo": "sac_ardae"},
    "SACARDAE, compile": {"algo": "sac_ardae", "compile": True},
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="HalfCheetah-v5")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=300, help="environment steps of each algorithm in a round")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    for name in ("rounds", "steps"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: at least 1")
    try:
        registry.environment_id(options.env)
    except ValueError as error:
        parser.error(str(error))

    th.set_num_threads(1)
    models = {}
    for label, arguments in CASES.items():
        kwargs = {"learning_starts": LEARNING_STARTS, "policy_kwargs": {"net_arch": [256, 256]}, "seed": 0}
        kwargs |= {"batch_size": 256} | arguments
        models[label] = make_model(kwargs.pop("algo"), options.env, **kwargs)
        models[label].learn(LEARNING_STARTS + 50)  # compiles, warms up
    rates: dict[str, list[float]] = {label: [] for label in models}
    for _ in track(range(options.rounds), description=options.env):
        for label, model in models.items():
            start = time.perf_counter()
            model.learn(options.steps, reset_num_timesteps=False)
            rates[label].append(options.steps / (time.perf_counter() - start))

    table = Table("case", "steps per second", "ratio to SB3 SAC", title=f"learn() on {options.env}, median")
    baseline = statistics.median(rates["SB3 SAC"])
    rows = []
    for label, values in rates.items():
        rate = statistics.median(values)
        table.add_row(label, f"{rate:.1f}", f"{rate / baseline:.3f}")
        row = {"env": options.env, "case": label, "steps_per_second": f"{rate:.2f}", "ratio": f"{rate / baseline:.4f}"}
        rows.append(row | {"rounds": options.rounds, "steps": options.steps, "threads": 1} | versions())
    console = Console()
    console.print(table)
    path = options.out / "throughput.csv"
    merge_csv(path, rows, key=("env", "case"))
    console.print(f"written: {path}")


if __name__ == "__main__":
    main()
