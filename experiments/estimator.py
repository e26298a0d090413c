"""Accuracy of the score estimator on conditional targets whose score and density are known.

The targets are those of ``tests.oracles.targets``. They move while the estimator trains, and it is compared to the
target after the last update, at new contexts and samples. The score error is E|f - ∇ln p|² / E|∇ln p|². The density's
bias and error are the mean and the mean absolute value of the estimated minus the true ln p, in nats.

`paper` is the form of Lim et al. (2020), with at least as many network evaluations per update as the default (through
the number of noise draws). Its input scale s is 10,000, as published. `paper_centered` subtracts the true location, as
the paper subtracts the center of its sampler, and `paper_tuned` does so as well, with s = 100; no other estimator is
given the location. The option ``input_scales`` adds `paper_tuned` with other values of s, under names like `paper_s10`.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from ardae_rl.common.checks import check_choice
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.score import ARDAE
from experiments.figure import Figure, Result
from tests.oracles.targets import CONTEXT_DIM, Target

BATCH, SAMPLES = 32, 16  # per update
TEST_CONTEXTS, TEST_SAMPLES = 512, 16
PAPER: dict[str, Any] = {
    "preconditioned": False,
    "loss": "ardae",
    "normalization": "importance",
    "normalization_kwargs": {"proposal_scale": math.exp(-1)},  # of the published code, in units of x
    "network_kwargs": {"activation": "elu", "context_gain": False},
    "betas": (0.9, 0.999),
    "averaging": 1,
    # As many network evaluations as the default: noisy samples, clean samples, reference draws
    "noise_kwargs": {"n_samples": 3},
}
ESTIMATORS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER,
    "paper_centered": PAPER,
    "paper_tuned": PAPER | {"input_scale": 100.0},
    "dual": {"normalization": "dual"},
    "importance": {"normalization": "importance"},
    "immse": {"normalization": "immse"},
}
MODES = (1, 3, 4)
DIMS = (2, 5, 6)
KEY = ("estimator", "dim", "modes", "seed", "updates")
SEEDS = {"smoke": 1, "quick": 3}
BUDGETS = {"smoke": {"updates": 1, "n_contexts": 4}, "quick": {"updates": 2500, "n_contexts": TEST_CONTEXTS}}


def measure(
    name: str, arguments: dict[str, Any], target: Target, seed: int, updates: int, n_contexts: int = TEST_CONTEXTS
) -> dict[str, Any]:
    """Train one estimator on one target, and return its errors after the last update as columns of the table."""
    th.manual_seed(seed)
    generator = th.Generator().manual_seed(100 + seed)
    estimator = ARDAE(target.dim, CONTEXT_DIM, **arguments)
    calls = count_rows(estimator)
    begin = time.process_time()
    for update in range(updates):
        context = target.contexts(BATCH, generator)
        samples = target.sample(context, SAMPLES, update, generator)
        estimator.update(samples - center(name, target, context), context)
    seconds = time.process_time() - begin
    n_calls = calls[0] / (updates * BATCH * SAMPLES)

    context = target.contexts(n_contexts, generator)
    x = target.sample(context, TEST_SAMPLES, updates, generator)
    log_prob, score = target.log_prob_and_score(x, context, updates)
    x = x - center(name, target, context)
    score_error = (estimator.score(x, context) - score).square().sum() / score.square().sum()
    error = estimator.log_prob(x, context) - log_prob
    return {
        "score_error": f"{score_error:.5g}",
        "log_prob_bias": f"{error.mean():.4g}",
        "log_prob_error": f"{error.abs().mean():.4g}",
        "calls_per_sample": round(n_calls, 2),
        "train_seconds": round(seconds, 1),
    }


def center(name: str, target: Target, context: th.Tensor) -> th.Tensor:
    """Return the location to subtract from samples and queries: zero unless the name starts with `paper_`."""
    location, _ = target.location_scale(context)
    return location if name.startswith("paper_") else th.zeros_like(location)


def count_rows(estimator: ARDAE) -> list[int]:
    """Return a list with one element, which counts the points at which the network is evaluated from now on."""
    rows = [0]

    def count(_module: th.nn.Module, _inputs: Any, output: th.Tensor) -> None:
        rows[0] += output.shape[:-1].numel()

    estimator.model.network.joining_layer.register_forward_hook(count)
    return rows


def runs(
    budget: str,
    n_seeds: int,
    *,
    estimators: tuple[str, ...] = tuple(ESTIMATORS),
    dims: tuple[int, ...] = DIMS,
    modes: tuple[int, ...] = MODES,
    input_scales: tuple[float, ...] = (),
) -> list[dict[str, Any]]:
    for estimator in estimators:
        check_choice("estimators", estimator, ESTIMATORS)
    for n_modes in modes:
        check_choice("modes", n_modes, MODES)
    chosen = {name: ESTIMATORS[name] for name in estimators}
    chosen |= {f"paper_s{scale:g}": PAPER | {"input_scale": scale} for scale in input_scales}
    return [
        {"name": f"{name} {dim} {n_modes} {seed}", "estimator": name, "dim": dim, "modes": n_modes, "seed": seed}
        | BUDGETS[budget]
        | {"arguments": arguments}
        for seed in range(n_seeds)
        for name, arguments in chosen.items()
        for dim in dims
        for n_modes in modes
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    name, seed = settings["estimator"], settings["seed"]
    target = Target(settings["dim"], settings["modes"], seed)
    row = measure(name, settings["arguments"], target, seed, settings["updates"], settings["n_contexts"])
    return [{k: settings[k] for k in KEY} | row]


def mean_over_seeds(rows: Sequence[dict[str, str]], estimator: str, dim: int, modes: int, column: str) -> float:
    """Return the mean of a column over seeds, NaN without rows."""
    chosen = [row for row in rows if (row["estimator"], row["dim"], row["modes"]) == (estimator, str(dim), str(modes))]
    return float(np.mean([float(row[column]) for row in chosen])) if chosen else math.nan


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds: score error; bias / absolute error of the density."""
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    table: list[Row] = []
    for dim, modes in sorted({(int(row["dim"]), int(row["modes"])) for row in rows}):
        line: dict[str, Any] = {"dim": dim, "modes": modes}
        for name in names:
            score, bias, error = (
                mean_over_seeds(rows, name, dim, modes, column)
                for column in ("score_error", "log_prob_bias", "log_prob_error")
            )
            line[name] = f"{score:.3f}; {bias:+.2f}/{error:.2f}"
        table.append(line)
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot bars of the score error and of the density's mean absolute error, by target and estimator."""
    from matplotlib.figure import Figure as Plot

    rows = [row for result in results for row in result.rows]
    targets = sorted({(int(row["dim"]), int(row["modes"])) for row in rows}, key=lambda target: target[::-1])
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    panels = {"score_error": "relative squared score error", "log_prob_error": "mean |error| of ln p, nats"}
    figure = Plot(figsize=(9, 6.4), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    width = 0.85 / len(names)
    for panel, (column, label) in zip(axes, panels.items(), strict=True):
        for k, name in enumerate(names):
            heights = [mean_over_seeds(rows, name, dim, modes, column) for dim, modes in targets]
            panel.bar(np.arange(len(targets)) + (k - len(names) / 2 + 0.5) * width, heights, width, label=name)
        panel.set(yscale="log", ylabel=label)
        panel.grid(axis="y", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    labels = [f"{modes} mode{'s' * (modes > 1)}\nd = {dim}" for dim, modes in targets]
    axes[1].set_xticks(range(len(targets)), labels)
    axes[0].legend(frameon=False, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=150)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=KEY)
