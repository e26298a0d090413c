"""Figure S1: the mixture of Section 4.2, its score, and the optimal residual f*(x; σ) of denoising at several σ.

Everything is in closed form. The table has the mean error of f* as an estimate of the score, by noise scale.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.ardae_paper import mixture
from experiments.figure import Figure, Result

SIGMAS = (0.1, 0.5, 1.0, 2.0)


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [{"name": "mixture", "n_points": 101 if budget == "smoke" else 4001, "sigmas": list(SIGMAS)}]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Return the errors E|∇ ln p - f*(x; σ)| and E|f*|, integrated over a grid."""
    x = th.linspace(-6, 6, settings["n_points"])
    weights = density(x)
    weights /= weights.sum()
    score = mixture.score(x)
    rows: list[Row] = []
    for sigma in settings["sigmas"]:
        residual = mixture.score(x, sigma)
        error = float((weights * (score - residual).abs()).sum())
        size = float((weights * residual.abs()).sum())
        rows.append({"sigma": sigma, "error": round(error, 5), "mean_size": round(size, 5)})
    return rows


def density(x: th.Tensor) -> th.Tensor:
    """Return p(x), in the shape of x."""
    components = [th.distributions.Normal(mean, mixture.VARIANCE**0.5).log_prob(x).exp() for mean in mixture.MEANS]
    return th.stack(components).mean(0)


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot, as in the paper, the density on the left, and the score and the optimal residuals on the right."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure as Plot

    plot = Plot(figsize=(9, 3.6), layout="constrained")
    left, right = plot.subplots(1, 2)
    x = th.linspace(-4, 4, 801)
    left.plot(x, density(x), color="black")
    left.set(xlabel="x", ylabel="p(x)")
    for sigma, shade in zip(SIGMAS, np.linspace(0.15, 0.85, len(SIGMAS)), strict=True):
        right.plot(x, mixture.score(x, sigma), color=colormaps["viridis"](shade), label=f"f*(x; σ = {sigma:g})")
    right.plot(x, mixture.score(x), "k-.", label="∇ ln p(x)")
    right.set(xlabel="x", ylim=(-9, 9))
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    plot.savefig(path, dpi=150)


FIGURE = Figure(
    runs=runs, run=run, summary=("sigma", "error", "mean_size"), draw=draw, seeds={"smoke": 0, "quick": 0, "paper": 0}
)
