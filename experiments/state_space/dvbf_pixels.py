"""A pendulum in images of 16 x 16 pixels: how well learned latent states determine angle and velocity.

The pendulum is that of Karl et al. (2017), m l² θ'' = -μ θ' + m g l sin θ + u with m = l = 1, μ = 0.5, g = 9.81, in
steps of 0.1 s (each of ten Euler steps) under random torques; 500 sequences of 15 images in each part of the data.
sin θ, cos θ and θ' are regressed on sampled states of three dimensions; the table has R² on sequences that neither
training nor the regression has used. The paper reports 0.961, 0.982 and 0.916 for its locally linear model, and 0.929,
0.979 and 0.035 for a deep Kalman filter.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.dvbf.dynamics import ImageEmission, LearnedSSM, LocallyLinearDynamics
from ardae_rl.dvbf.policies import make_posterior
from ardae_rl.dvbf.posteriors import SequenceEncoder
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, write_csv
from experiments.figure import Figure, Result
from experiments.state_space.training import bounds, fit

SEEDS = {"smoke": 1, "quick": 1, "paper": 5}
LENGTH, SIDE, ACT_DIM = 15, 16, 1
N_SEQUENCES = 500  # in each part
PARTS = ("training", "regression", "test")
METHODS = {"A: initial state": "initial_state", "C: step flow": "step_iaf", "D: noise": "noise"}
MODEL = {"z_dim": 3, "n_matrices": 16, "encoder_hidden": 64, "n_flows": 2}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"n_updates": 2, "batch_size": 4, "learning_rate": 1e-3, "anneal_updates": 1, "length": 5},
    "quick": {"n_updates": 6000, "batch_size": 64, "learning_rate": 2e-3, "anneal_updates": 1000, "length": LENGTH},
    "paper": {"n_updates": 60_000, "batch_size": 64, "learning_rate": 1e-3, "anneal_updates": 10_000, "length": LENGTH},
}
TARGETS = ("sin", "cos", "velocity")
_FRICTION, _GRAVITY, _SECONDS, _SUBSTEPS = 0.5, 9.81, 0.1, 10
_FASTEST, _TORQUE = 8.0, 2.0
_CURVE, _STATES = "curve.csv", "states.npz"


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{posterior}_{seed}", "method": method, "posterior": posterior, "seed": seed}
        | MODEL
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for method, posterior in METHODS.items()
    ]


@cache
def sequences(part: str) -> tuple[th.Tensor, th.Tensor, NDArray[np.float64]]:
    """Return images (n, 15, 256), torques (n, 14, 1) in [-1, 1], and states (n, 15, 2)."""
    rng = np.random.default_rng(PARTS.index(part))
    states = np.zeros((N_SEQUENCES, LENGTH, 2))
    states[:, 0] = rng.uniform([-np.pi, -_FASTEST], [np.pi, _FASTEST], (N_SEQUENCES, 2))
    u = rng.uniform(-1, 1, (N_SEQUENCES, LENGTH - 1, ACT_DIM))
    for t in range(LENGTH - 1):
        states[:, t + 1] = next_state(states[:, t], _TORQUE * u[:, t, 0])
    x = images(states[..., 0])
    return th.as_tensor(x, dtype=th.float32), th.as_tensor(u, dtype=th.float32), states


def next_state(states: NDArray[np.float64], torque: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return states (n, 2) one step later; θ = 0 is upright."""
    angle, velocity = states.T
    for _ in range(_SUBSTEPS):
        acceleration = -_FRICTION * velocity + _GRAVITY * np.sin(angle) + torque
        angle = angle + _SECONDS / _SUBSTEPS * velocity
        velocity = velocity + _SECONDS / _SUBSTEPS * acceleration
    return np.stack([angle, velocity], 1)


def images(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return images (..., 256) in [0, 1] of a rod with soft edges, from the center to near the border."""
    center, length, width = SIDE / 2, SIDE / 2 - 1.5, 1.0
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5 - center
    tips = length * np.stack([-np.cos(angles), np.sin(angles)], -1)[..., None, None, :]  # rows go down
    points = np.stack([rows, columns], -1)
    along = ((points * tips).sum(-1) / length**2).clip(0, 1)[..., None]
    squares = ((points - along * tips) ** 2).sum(-1)
    rods: NDArray[np.float64] = np.exp(-0.5 * squares / width**2)
    return rods.reshape(*angles.shape, SIDE**2)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    th.manual_seed(settings["seed"])
    z_dim = settings["z_dim"]
    model = LearnedSSM(LocallyLinearDynamics(z_dim, ACT_DIM, settings["n_matrices"]), ImageEmission(z_dim, SIDE**2))
    encoder = SequenceEncoder(SIDE**2, ACT_DIM, settings["encoder_hidden"], smoothing=True)
    posterior = make_posterior(settings["posterior"], encoder, z_dim, settings["n_flows"])
    x, u, _ = sequences("training")
    test_x, test_u, _ = sequences("test")
    records = fit(model, posterior, x, u, settings, run, lambda: bounds(model, posterior, test_x[:100], test_u[:100]))
    write_csv(run.folder / _CURVE, records)
    numbers = bounds(model, posterior, test_x, test_u)
    sampled = {part: sampled_states(model, posterior, part) for part in PARTS[1:]}
    for degree, name in ((1, "linear"), (2, "quadratic")):
        scores = explained(sampled["regression"], sampled["test"], degree)
        numbers |= {f"{name}_{target}": score for target, score in zip(TARGETS, scores, strict=True)}
    np.savez(run.folder / _STATES, z=sampled["test"][0], targets=sampled["test"][1])
    settled = {name: settings[name] for name in ("method", "seed", "n_updates")}
    return [settled | {name: round(value, 5) for name, value in numbers.items()}]


@th.no_grad()
def sampled_states(model: LearnedSSM, posterior: th.nn.Module, part: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return a sample of each latent state, (n, z_dim), and sin θ, cos θ, θ', (n, 3)."""
    x, u, states = sequences(part)
    z = posterior(model, x, u).z.flatten(0, 1).double().numpy()
    angle, velocity = states.reshape(-1, 2).T
    return z, np.stack([np.sin(angle), np.cos(angle), velocity], 1)


def explained(
    fitted: tuple[NDArray[Any], NDArray[np.float64]], tested: tuple[NDArray[Any], NDArray[np.float64]], degree: int
) -> list[float]:
    """Return the R² of each target on the tested rows, by least squares on the fitted rows.

    :param degree: 1 to regress on the states, 2 to include their products.
    """
    features = [_features(z, degree) for z, _ in (fitted, tested)]
    coefficients, *_ = np.linalg.lstsq(features[0], fitted[1], rcond=None)
    errors = ((features[1] @ coefficients - tested[1]) ** 2).mean(0)
    return [float(value) for value in 1 - errors / tested[1].var(0)]


def _features(z: NDArray[Any], degree: int) -> NDArray[np.float64]:
    products = [z[:, i] * z[:, j] for i in range(z.shape[1]) for j in range(i, z.shape[1])] if degree == 2 else []
    return np.column_stack([np.ones(len(z)), z, *products])


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return, by method, means over seeds."""
    names = ("elbo", "kl", *(f"linear_{target}" for target in TARGETS), *(f"quadratic_{target}" for target in TARGETS))
    result: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method]
        result.append(
            {"method": method} | {name: round(fmean(float(row[name]) for row in of_method), 4) for name in names}
        )
    return result


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the sampled states of each method's first seed, colored by angle and by velocity."""
    from matplotlib.figure import Figure as Plot

    first = {result.settings["method"]: result for result in reversed(results)}
    first = {method: first[method] for method in METHODS if method in first}
    figure = Plot(figsize=(3.4 * len(first), 6.4), layout="constrained")
    for column, (method, result) in enumerate(first.items()):
        saved = np.load(result.folder / _STATES)
        angle = np.arctan2(saved["targets"][:, 0], saved["targets"][:, 1])
        for row, (name, color, color_map) in enumerate(
            (("angle", angle, "twilight"), ("velocity", saved["targets"][:, 2], "viridis"))
        ):
            axes = figure.add_subplot(2, len(first), row * len(first) + column + 1, projection="3d")
            axes.scatter(*saved["z"].T, c=color, cmap=color_map, s=2)
            axes.set_title(f"{method}, {name}" if row == 0 else name)
            axes.tick_params(labelsize="xx-small")
    figure.savefig(path, dpi=110)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
