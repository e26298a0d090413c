"""Time of an update of the MNIST autoencoders, with MLP networks and 128 images.

All methods take turns in one process with one thread. Times are CPU times, which other programs hardly affect.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch as th

from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.ardae_paper.mnist.budgets import run_settings
from experiments.ardae_paper.mnist.methods import METHODS, make_trainee
from experiments.figure import Figure

BUDGETS = {"smoke": 1, "quick": 12}  # number of turns
_UPDATES_PER_TURN = 3


def runs(budget: str, n_seeds: int, *, methods: tuple[str, ...] = tuple(METHODS)) -> list[dict[str, Any]]:
    return [{"name": "mlp", "methods": list(methods), "n_turns": BUDGETS[budget]}]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Return the median time of an update by method, and its ratio to the Gaussian posterior's."""
    th.set_num_threads(1)
    keep_freed_memory()
    updates = {method: make_update(method) for method in settings["methods"]}
    times: dict[str, list[float]] = {method: [] for method in updates}
    for turn in range(settings["n_turns"] + 1):
        run.report(turn, settings["n_turns"] + 1)
        for method, update in updates.items():
            update()  # brings its weights back into the cache
            start = time.process_time()
            for _ in range(_UPDATES_PER_TURN):
                update()
            times[method].append(1e3 * (time.process_time() - start) / _UPDATES_PER_TURN)
    medians = {method: statistics.median(values[1:]) for method, values in times.items()}
    first = medians.get("gaussian", float("nan"))
    return [
        {"method": method, "ms": round(value, 2), "ratio": round(value / first, 2)} for method, value in medians.items()
    ]


def make_update(method: str) -> Callable[[], None]:
    """Return a function that makes one update with the settings of the quick budget."""
    th.manual_seed(0)
    settings = run_settings("quick", "mlp", method, seed=0)
    trainee = make_trainee("mlp", method, settings["networks"], settings["entropy"])
    parameters = list(trainee.trained().parameters())
    optimizer = th.optim.Adam(parameters, settings["learning_rate"], tuple(settings["betas"]), fused=True)
    x = th.bernoulli(th.full((settings["batch_size"], 784), 0.13))

    def update() -> None:
        loss = -trainee.bound.objective(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    return [{"method": METHODS[row["method"]], "ms": row["ms"], "ratio": row["ratio"]} for row in rows]


FIGURE = Figure(runs=runs, run=run, summary=summary, seeds=dict.fromkeys(BUDGETS, 0), key=("method",), timed=True)
