"""Trajectories of the pendulum from state-space models: the posteriors of DVBF and of flows, with valid bounds.

The data follow the source: 50 steps of Gymnasium's pendulum, fully observed, with controls from an Ornstein-Uhlenbeck
process, clipped to the pendulum's limits. From a first state and a trajectory's controls, models generate the rest,
with process noise if they have any. Filters infer the first state from the first observation, smoothers from all of
them, so that their errors cannot be compared. The table has the mean absolute difference from the true trajectory
(MAD), for which the source reports 0.154 (its DVBF) and 0.192 (its flows). One run has the controls one step late, as
in the source. Training uses windows of 20 steps that start anywhere in a trajectory, because errors near the top grow
fast.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th

from ardae_rl.dvbf.dynamics import GaussianEmission, LearnedSSM, LocallyLinearDynamics
from ardae_rl.dvbf.policies import make_posterior
from ardae_rl.dvbf.posteriors import InitialStatePosterior, SequenceEncoder
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, read_csv, write_csv
from experiments.figure import Figure, Result
from experiments.state_space.training import bounds, fit

SEEDS = {"smoke": 1, "quick": 1, "paper": 5}
LENGTH, OBS_DIM, ACT_DIM = 50, 3, 1
SPLIT = {"training": 500, "validation": 128, "test": 128}
METHODS: dict[str, dict[str, Any]] = {
    # Without smoothing, the initial state is inferred from the first observation alone, as for generation
    "A: initial state": {"posterior": "initial_state", "smoothing": False},
    "B: trajectory flow": {"posterior": "trajectory_iaf", "smoothing": True},
    "C: step flow": {"posterior": "step_iaf", "smoothing": True},
    "Gaussian, as C": {"posterior": "gaussian", "smoothing": True},
    "D: noise": {"posterior": "noise", "smoothing": False},
    "A, controls late": {"posterior": "initial_state", "smoothing": False, "late": True},
}
MODEL = {"z_dim": 4, "n_matrices": 16, "encoder_hidden": 64, "n_flows": 2}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"n_updates": 2, "batch_size": 4, "learning_rate": 1e-3, "anneal_updates": 1, "length": 5},
    "quick": {"n_updates": 8000, "batch_size": 64, "learning_rate": 4e-3, "anneal_updates": 500, "length": 20},
    "paper": {"n_updates": 80_000, "batch_size": 64, "learning_rate": 1e-3, "anneal_updates": 5000, "length": 20},
}
_CURVE, _PATHS = "curve.csv", "paths.npz"
_N_DRAWN = 4  # trajectories in the plot


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{name.replace(': ', '_').replace(', ', '_').replace(' ', '_')}_{seed}", "method": name, "seed": seed}
        | {"late": False}
        | method
        | MODEL
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for name, method in METHODS.items()
    ]


@cache
def trajectories(n: int, seed: int) -> tuple[th.Tensor, th.Tensor]:
    """Return observations (n, 50, 3), (cos θ, sin θ, dθ/dt / 8), and controls (n, 49, 1) in [-1, 1]."""
    env, rng = gym.make("Pendulum-v1").unwrapped, np.random.default_rng(seed)
    x, u = np.zeros((n, LENGTH, OBS_DIM)), np.zeros((n, LENGTH - 1, ACT_DIM))
    for i in range(n):
        x[i, 0], _ = env.reset(seed=int(rng.integers(2**31)))
        process = 0.0
        for t in range(LENGTH - 1):
            process += -0.15 * process + 1.5 * rng.standard_normal()
            torque = np.clip(process, -2, 2)
            u[i, t] = torque / 2
            x[i, t + 1], *_ = env.step(np.array([torque], np.float32))
    x[..., 2] /= 8
    return th.as_tensor(x, dtype=th.float32), th.as_tensor(u, dtype=th.float32)


def data(part: str, late: bool) -> tuple[th.Tensor, th.Tensor]:
    """Return a part of the split; with ``late``, each control is shifted to one step later."""
    x, u = trajectories(SPLIT[part], list(SPLIT).index(part))
    return x, th.cat([th.zeros_like(u[:, :1]), u[:, :-1]], 1) if late else u


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    th.manual_seed(settings["seed"])
    z_dim = settings["z_dim"]
    model = LearnedSSM(LocallyLinearDynamics(z_dim, ACT_DIM, settings["n_matrices"]), GaussianEmission(z_dim, OBS_DIM))
    encoder = SequenceEncoder(OBS_DIM, ACT_DIM, settings["encoder_hidden"], settings["smoothing"])
    posterior = make_posterior(settings["posterior"], encoder, z_dim, settings["n_flows"])
    x, u = data("training", settings["late"])
    validation = data("validation", settings["late"])
    records = fit(model, posterior, x, u, settings, run, lambda: bounds(model, posterior, *validation))
    write_csv(run.folder / _CURVE, records)
    numbers = bounds(model, posterior, *data("test", settings["late"]))
    true, generated = generate(model, posterior, settings["smoothing"], *data("test", settings["late"]))
    np.savez(run.folder / _PATHS, true=true[:_N_DRAWN].numpy(), generated=generated[:_N_DRAWN].numpy())
    numbers["mad"] = float((true - generated).abs().mean())
    numbers["min_kl"] = min(record["kl"] for record in records)
    settled = {name: settings[name] for name in ("method", "seed", "n_updates")}
    return [settled | {name: round(value, 5) for name, value in numbers.items()}]


@th.no_grad()
def generate(
    model: LearnedSSM, posterior: th.nn.Module, smoothing: bool, x: th.Tensor, u: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """Return true and generated trajectories, (n, 50, 3).

    A filter draws the first state given the first observation alone. A smoother draws it given all observations, the
    only case that it was trained for.
    """
    observed = x if smoothing else x[:, :1]
    first = posterior(model, observed, u[:, : observed.shape[1] - 1]).z[:, 0]
    noise = not isinstance(posterior, InitialStatePosterior)
    return x, model.generate(first, u, noise)[1]


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return, by method, means over seeds and the smallest divergence during training."""
    result: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method]
        means = {name: round(fmean(float(row[name]) for row in of_method), 4) for name in ("mad", "elbo", "kl")}
        result.append({"method": method} | means | {"min kl": min(float(row["min_kl"]) for row in of_method)})
    return result


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot sin θ of true and generated trajectories of each method's first seed, and divergences during training."""
    from matplotlib.figure import Figure as Plot

    first = {result.settings["method"]: result for result in reversed(results)}
    first = {method: first[method] for method in METHODS if method in first}
    figure = Plot(figsize=(2.6 * (len(first) + 1), 1.5 * _N_DRAWN), layout="constrained")
    grid = figure.add_gridspec(_N_DRAWN, len(first) + 1)
    for column, (method, result) in enumerate(first.items()):
        paths = np.load(result.folder / _PATHS)
        for row in range(_N_DRAWN):
            axes = figure.add_subplot(grid[row, column])
            axes.plot(paths["true"][row, :, 1], color="0.6", lw=3)
            axes.plot(paths["generated"][row, :, 1], color=f"C{column}", lw=1)
            axes.set(ylim=(-1.2, 1.2), xticks=[], yticks=[], title=method if row == 0 else None)
    axes = figure.add_subplot(grid[:, len(first)])
    for column, (method, result) in enumerate(first.items()):
        curve = read_csv(result.folder / _CURVE)
        columns = ([float(row[name]) for row in curve] for name in ("n_updates", "kl"))
        axes.plot(*columns, color=f"C{column}", label=method)
    axes.axhline(0, color="0.6", lw=1)
    axes.set(title="divergence per step (nats)", xlabel="updates", yscale="symlog")
    axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=130)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
