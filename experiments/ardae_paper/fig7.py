"""Figure 7: the maximum-entropy principle under Gaussian constraints in ten dimensions (Section 6.4).

Minimize -H(p) + λ(c_1² + c_2²) with increasing λ, where c_1 and c_2 are the errors of a batch's mean and covariance. An
implicit sampler with AR-DAE's entropy gradient is compared with an inverse autoregressive flow, which has the exact
gradient, with identical constraints, batch sizes, λ and numbers of updates. The paper gives neither networks nor λ. The
estimator's inputs are the samples in whitened coordinates, because C is often close to singular.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from torch import nn

from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.score import ARDAE, entropy_surrogate
from experiments.ardae_paper.distances import earth_movers_distance
from experiments.ardae_paper.max_entropy import (
    Model,
    MomentConstraints,
    SmoothSampler,
    Whitening,
    flow_entropy,
    flow_samples,
    inverse_autoregressive_flow,
)
from experiments.figure import Figure, Result

SEEDS = {"smoke": 2, "quick": 32, "paper": 256}
BUDGETS = {
    "smoke": {"n_updates": 4, "n_entropy_updates": 2, "n_warm_up": 2, "n_distance": 20, "n_moments": 200},
    "quick": {"n_updates": 2_000, "n_entropy_updates": 500},
    "paper": {"n_updates": 20_000, "n_entropy_updates": 5_000},
}
TRAINING = {
    "batch": 128,
    "first_penalty": 1e-3,
    "last_penalty": 10.0,
    "flow_learning_rate": 1e-3,
    "sampler_learning_rate": 1e-3,
    "score_learning_rate": 2e-3,
    "n_warm_up": 100,  # first updates, of the estimator only
    "n_transforms": 3,
    "noise_dim": 10,
    "width": 64,
}
EVALUATION = {
    "n_distance": 1_000,  # samples in each of the two sets of an earth mover's distance
    "n_moments": 20_000,  # samples for moments and entropies
    "entropy_batch": 256,
}
DIM = 10
MODELS = ("AR-DAE", "IAF")
COLORS = {"AR-DAE": "tab:red", "IAF": "tab:green"}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    shared = TRAINING | EVALUATION | BUDGETS[budget]
    return [{"name": f"seed{seed}", "seed": seed} | shared for seed in range(n_seeds)]


def run(settings: dict[str, Any], run: Run) -> list[dict[str, Any]]:
    """Train both models on one draw of the constraints."""
    th.manual_seed(settings["seed"])
    constraints = MomentConstraints.draw(DIM)
    flow = train_flow(constraints, settings, run)
    sampler = train_sampler(constraints, settings, run)
    models = {
        "AR-DAE": Model(sampler, sampler.entropy),
        "IAF": Model(partial(flow_samples, flow), partial(flow_entropy, flow)),
    }
    estimates = {name: estimate_entropy(models[name], settings, run, f"entropy_{name}") for name in MODELS}
    exact, reference = (constraints.solution.sample((settings["n_distance"],)) for _ in range(2))
    floor = {"emd_floor": earth_movers_distance(exact, reference)}
    rows = []
    for name in MODELS:
        model = models[name]
        numbers = distances(model, reference) | floor | errors(model, settings["n_moments"], constraints)
        numbers["entropy_gap_estimate"] = float(constraints.solution.entropy()) - estimates[name]
        key = {"model": name, "seed": settings["seed"], "n_updates": settings["n_updates"]}
        rows.append(key | {column: f"{value:.5g}" for column, value in numbers.items()})
    return rows


def schedule(settings: dict[str, Any], step: int) -> tuple[float, float]:
    """Return λ, which grows geometrically in the first half, and a factor that decays the learning rates afterwards."""
    progress = step / settings["n_updates"]
    first, last = settings["first_penalty"], settings["last_penalty"]
    return first * (last / first) ** min(2 * progress, 1), min(2 - 2 * progress, 1)


def train_flow(constraints: MomentConstraints, settings: dict[str, Any], run: Run) -> nn.Module:
    """Train a flow with the exact log-density of its samples."""
    flow = inverse_autoregressive_flow(DIM, settings["n_transforms"], settings["width"])
    optimizer = th.optim.Adam(flow.parameters(), fused=True)
    parts: dict[str, Stateful] = {"flow": flow, "optimizer": optimizer}
    for step in run.steps(settings["n_updates"], parts, checkpoint="flow"):
        weight, decay = schedule(settings, step)
        set_learning_rate(optimizer, decay * settings["flow_learning_rate"])
        x, log_prob = flow().rsample_and_log_prob((settings["batch"],))
        loss = log_prob.mean() + weight * constraints.penalty(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return flow


def train_sampler(constraints: MomentConstraints, settings: dict[str, Any], run: Run) -> SmoothSampler:
    """Train a sampler with AR-DAE's score in whitened coordinates: alternate updates of estimator and sampler."""
    sampler = SmoothSampler(DIM, settings["noise_dim"], settings["width"])
    optimizer = th.optim.Adam(sampler.parameters(), fused=True)
    whitening = Whitening(DIM)
    estimator = ARDAE(DIM, normalization=None, standardize=False, averaging=1)
    parts: dict[str, Stateful] = {"sampler": sampler, "optimizer": optimizer, "whitening": whitening}
    parts |= {"estimator": estimator, "estimator_optimizer": estimator.optimizer}
    n_warm_up = settings["n_warm_up"]
    for step in run.steps(n_warm_up + settings["n_updates"], parts, checkpoint="sampler"):
        weight, decay = schedule(settings, max(step - n_warm_up, 0))
        set_learning_rate(optimizer, decay * settings["sampler_learning_rate"])
        set_learning_rate(estimator.optimizer, max(decay, 0.1) * settings["score_learning_rate"])
        with th.no_grad():
            x = sampler(settings["batch"])
        whitening.update(x)
        estimator.step(whitening(x))
        if step < n_warm_up:
            continue
        x = sampler(settings["batch"])
        y = whitening(x)
        loss = weight * constraints.penalty(x) - entropy_surrogate(y, estimator.score(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return sampler


def set_learning_rate(optimizer: th.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def estimate_entropy(model: Model, settings: dict[str, Any], run: Run, checkpoint: str) -> float:
    """Return H in nats, by a new estimator that is normalized against a Gaussian with the samples' moments."""
    n_updates, n_moments = settings["n_entropy_updates"], settings["n_moments"]
    whitening = Whitening(DIM)
    with th.no_grad():
        whitening.update(model.sample(n_moments))
    estimator = ARDAE(DIM, normalization="contrastive", standardize=False)
    decay = th.optim.lr_scheduler.LinearLR(estimator.optimizer, 1.0, 0.05, n_updates)
    parts: dict[str, Stateful] = {"whitening": whitening, "estimator": estimator}
    parts |= {"optimizer": estimator.optimizer, "decay": decay}
    for _ in run.steps(n_updates, parts, checkpoint=checkpoint):
        with th.no_grad():
            y = whitening(model.sample(settings["entropy_batch"]))
        estimator.step(y)
        decay.step()
    with th.no_grad():
        y = whitening(model.sample(n_moments))
    return float(estimator.entropy(y) + whitening.log_volume)


def distances(model: Model, reference: th.Tensor) -> dict[str, float]:
    """Return the earth mover's distances to exact samples, and between two sets of the model's samples."""
    with th.no_grad():
        x, other = (model.sample(len(reference)) for _ in range(2))
    return {"emd": earth_movers_distance(x, reference), "emd_self": earth_movers_distance(x, other)}


@th.no_grad()
def errors(model: Model, n: int, constraints: MomentConstraints) -> dict[str, float]:
    """Estimate c_1, c_2, KL of the moments, H(N(m, C)) - H(p), KL(p ‖ N(m, C)) and the fraction in folds."""
    x = model.sample(n)
    c1, c2 = constraints.violations(x)
    entropy, folded = model.entropy(n)
    solution = constraints.solution
    return {
        "c1": float(c1),
        "c2": float(c2),
        "moment_kl": constraints.moment_divergence(x),
        "entropy_gap": float(solution.entropy()) - entropy,
        "kl": -entropy - float(solution.log_prob(x.double()).mean()),
        "folded": folded,
    }


def column(rows: Sequence[dict[str, str]], model: str, name: str) -> np.ndarray:
    """Return one column of a model's rows, in the order of the seeds."""
    chosen = sorted((row for row in rows if row["model"] == model), key=lambda row: int(row["seed"]))
    return np.array([float(row[name]) for row in chosen])


def summary(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """Return medians over repetitions for each model.

    "debiased" is EMD(p, q) - (EMD(p, p') + EMD(q, q')) / 2 of finite sets, which does not favor narrower
    distributions; "nearer" counts the repetitions with the smaller EMD.
    """
    emd = {model: column(rows, model, "emd") for model in MODELS}
    smaller = np.minimum(*emd.values())
    table = []
    for model in MODELS:
        floor, self_distance = column(rows, model, "emd_floor"), column(rows, model, "emd_self")
        numbers = {"EMD": emd[model], "floor": floor, "debiased": emd[model] - (floor + self_distance) / 2}
        numbers |= {name: column(rows, model, name) for name in ("kl", "moment_kl", "entropy_gap")}
        numbers |= {name: column(rows, model, name) for name in ("entropy_gap_estimate", "c1", "c2", "folded")}
        line = {"model": model, "repetitions": len(smaller), "nearer": int((emd[model] == smaller).sum())}
        table.append(line | {name.replace("_", " "): float(np.median(values)) for name, values in numbers.items()})
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot histograms of the earth mover's distances, of their difference, and of the KL divergences."""
    from matplotlib.figure import Figure as Plot

    rows = [row for result in results for row in result.rows]
    emd = {model: column(rows, model, "emd") for model in MODELS}
    floor = column(rows, MODELS[0], "emd_floor")
    figure = Plot(figsize=(12, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    values = np.concatenate([*emd.values(), floor])
    bins = np.linspace(values.min(), values.max(), 16)
    left.hist(floor, bins, color="lightgray", label=f"two exact sets (median {np.median(floor):.2f})")
    outlines(left, emd, bins)
    left.set(xlabel="earth mover's distance to N(m, BᵀB)", ylabel="repetitions", title="Distance")
    difference = emd["AR-DAE"] - emd["IAF"]
    width = np.ptp(difference) / 15 or 1.0
    edges = np.arange(np.floor(difference.min() / width), np.ceil(difference.max() / width) + 1)
    middle.hist(difference, width * edges, color="tab:blue")  # no bar straddles zero
    middle.axvline(0, color="black", linewidth=1)
    nearer = f"AR-DAE nearer in {(difference < 0).sum()} of {len(difference)}"
    middle.set(xlabel="EMD of AR-DAE - EMD of IAF", ylabel="repetitions", title=nearer)
    divergence = {model: column(rows, model, "kl") for model in MODELS}
    values = np.concatenate(list(divergence.values()))
    outlines(right, divergence, np.geomspace(values.min(), values.max(), 16))
    right.set(xscale="log", xlabel="KL(p ‖ N(m, BᵀB)), nats", ylabel="repetitions", title="Divergence")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def outlines(axes: Any, values: dict[str, np.ndarray], bins: np.ndarray) -> None:
    """Plot a histogram of each model's values."""
    for model, numbers in values.items():
        label = f"{model} (median {np.median(numbers):.2f})"
        axes.hist(numbers, bins, color=COLORS[model], histtype="step", linewidth=1.8, label=label)
    axes.legend(frameon=False, fontsize=8)
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
