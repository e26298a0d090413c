"""Figure 2: residual denoising autoencoders on the swiss roll, with a large and with a small noise scale.

For the empirical distribution of the data, the optimal residual is known at any σ: the arrows of the networks are
compared with it. With a large σ, arrows point to the mean of the data (Proposition 4.1), with a small one to the roll.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, versions
from ardae_rl.score import ARDAE
from experiments.figure import Figure, Result

SIGMAS = {"large": 3.0, "small": 0.3}  # the data lie within a radius of about 5
N_DATA = 10_000
QUICK: dict[str, Any] = {"n_updates": 2000, "batch_size": 256, "width": 64, "n_evaluated": 500}
BUDGETS = {
    "smoke": QUICK | {"n_updates": 3, "batch_size": 16, "width": 8, "n_evaluated": 20},
    "quick": QUICK,
    "paper": QUICK | {"n_updates": 10_000, "batch_size": 512, "width": 256},
}
_ARROWS = "arrows.pt"


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{name}_seed{seed}", "method": name, "sigma": sigma, "seed": seed} | BUDGETS[budget]
        for seed in range(n_seeds)
        for name, sigma in SIGMAS.items()
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train a denoiser, save its arrows on a grid, and compare them with the optimal ones on noisy data."""
    th.manual_seed(settings["seed"])
    sigma, data = settings["sigma"], swiss_roll(N_DATA)
    estimator = ARDAE(
        2,
        parameterization="score",
        preconditioned=False,
        normalization=None,
        loss="ardae",
        input_scale=1.0,
        learning_rate=3e-3,
        noise_kwargs={"distribution": "fixed", "relative": False, "scale": sigma},
        network_kwargs={"hidden": [settings["width"]] * 3, "activation": "softplus"},
    )
    schedule = th.optim.lr_scheduler.LinearLR(estimator.optimizer, 1.0, 0.05, settings["n_updates"])
    parts: dict[str, Stateful] = {"estimator": estimator, "optimizer": estimator.optimizer, "schedule": schedule}
    for _ in run.steps(settings["n_updates"], parts):
        estimator.step(data[th.randint(N_DATA, (settings["batch_size"],))])
        schedule.step()
    axis = th.linspace(-6, 6, 21)
    grid = th.cartesian_prod(axis, axis)
    th.save({"data": data[:2000], "grid": grid, "arrows": estimator.score(grid)}, run.folder / _ARROWS)
    y = data[: settings["n_evaluated"]] + sigma * th.randn(settings["n_evaluated"], 2)
    arrows, optimal = estimator.score(y), optimal_residual(y, data, sigma)
    row = {key: settings[key] for key in ("method", "sigma", "seed", "n_updates")}
    nearest = data[th.cdist(y, data).argmin(1)]
    return [
        row
        | {
            "relative_error": round(float((arrows - optimal).square().sum() / optimal.square().sum()), 5),
            "to_the_mean": round(cosine(arrows, data.mean(0) - y), 4),
            "to_the_mean_optimal": round(cosine(optimal, data.mean(0) - y), 4),
            "to_the_roll": round(cosine(arrows, nearest - y), 4),
            "to_the_roll_optimal": round(cosine(optimal, nearest - y), 4),
        }
    ]


def swiss_roll(n: int, deviation: float = 0.1) -> th.Tensor:
    """Return n points of a spiral with 1.5 turns, (n, 2), with normal noise."""
    angle = 1.5 * math.pi * (1 + 2 * th.rand(n))
    return th.stack([angle * angle.cos(), angle * angle.sin()], dim=1) / 3 + deviation * th.randn(n, 2)


def optimal_residual(y: th.Tensor, data: th.Tensor, sigma: float) -> th.Tensor:
    """Return f*(y; σ) = E[x - y | y] / σ² for x uniform on the data points, (n, 2)."""
    weights = (-0.5 * th.cdist(y, data).square() / sigma**2).softmax(1)
    return (weights @ data - y) / sigma**2


def cosine(arrows: th.Tensor, directions: th.Tensor) -> float:
    """Return the mean cosine of the angles between arrows and directions (n, 2)."""
    return float(th.nn.functional.cosine_similarity(arrows, directions, dim=1).mean())


def summary(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    left_out = versions()
    return [{name: row[name] for name in row if name not in left_out} for row in rows]


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the data with the arrows of each denoiser, and the mean of the data as a red cross."""
    from matplotlib.figure import Figure as Plot

    first = [result for result in results if result.settings["seed"] == 0]
    plot = Plot(figsize=(9, 4.6), layout="constrained")
    for axes, result in zip(plot.subplots(1, len(first)), first, strict=True):
        saved = th.load(result.folder / _ARROWS, weights_only=True)
        data, grid, arrows = saved["data"], saved["grid"], saved["arrows"]
        axes.scatter(*data.T, s=2, color="tab:gray", alpha=0.5, linewidths=0)
        # Arrows go a third of the way to x + σ² f, the denoised point
        axes.quiver(*grid.T, *(result.settings["sigma"] ** 2 * arrows.T), angles="xy", scale_units="xy", scale=3)
        axes.plot(*data.mean(0), "rx", markersize=10, markeredgewidth=2.5)
        axes.set(aspect="equal", xlim=(-6.5, 6.5), ylim=(-6.5, 6.5), title=f"σ = {result.settings['sigma']:g}")
        axes.spines[["top", "right"]].set_visible(False)
    plot.savefig(path, dpi=150)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds={"smoke": 1, "quick": 1, "paper": 2})
