"""Figure S2: denoisers conditioned on σ interpolate at σ = 0, those conditioned on |σ| extrapolate (App. D.2).

As in the paper, a hypernetwork (Ha et al. 2017) computes all weights of the denoiser from σ or |σ|, so that the
denoiser can depend on it in any way.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.score import ardae_loss
from experiments.ardae_paper import mixture
from experiments.ardae_paper.error_curves import draw_errors, mean_errors
from experiments.ardae_paper.fig3 import BATCH, N_NOISE, PAPER_DELTA, errors, noise_scales
from experiments.figure import Figure, Result

SEEDS = {"smoke": 1, "quick": 4, "paper": 5}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"n_updates": 3, "width": 8, "n_sigmas": 2},
    "quick": {"n_updates": 2_000, "width": 32, "n_sigmas": 7},
    "paper": {"n_updates": 10_000, "width": 256, "n_sigmas": 13},
}
CONDITIONS = {"AR-DAE (σ)": "signed", "AR-DAE (|σ|)": "absolute"}
_HYPER_WIDTH = 64


class HyperDenoiser(nn.Module):
    """f(x; σ) = ∂ψ/∂x of a perceptron ψ of three hidden layers, whose weights are a function of σ / δ.

    :param width: Width of ψ's hidden layers.
    :param absolute: Whether the weights are a function of |σ| / δ instead.
    """

    def __init__(self, width: int, absolute: bool):
        super().__init__()
        self.absolute = absolute
        sizes = (1, width, width, width, 1)
        self.shapes = list(itertools.pairwise(sizes))
        n_weights = sum((n_in + 1) * n_out for n_in, n_out in self.shapes)
        self.hypernetwork = nn.Sequential(nn.Linear(1, _HYPER_WIDTH), nn.Softplus(), nn.Linear(_HYPER_WIDTH, n_weights))
        self._initialize()

    @th.no_grad()
    def _initialize(self) -> None:
        """Set the last bias to weights of the usual size, so that σ changes them only by a fraction at first."""
        output = self.hypernetwork[-1]
        assert isinstance(output, nn.Linear)  # for mypy
        layers = [nn.Linear(n_in, n_out) for n_in, n_out in self.shapes]
        output.bias.copy_(th.cat([th.cat([layer.weight.t().flatten(), layer.bias]) for layer in layers]))
        output.weight.mul_(0.1)

    def forward(self, x: th.Tensor, sigma: th.Tensor) -> th.Tensor:
        """Return f(x; σ), (n_scales, n, 1).

        :param x: Points for each noise scale, (n_scales, n, 1).
        :param sigma: Noise scales, (n_scales,).
        """
        condition = (sigma.abs() if self.absolute else sigma) / PAPER_DELTA
        weights = self.hypernetwork(condition.unsqueeze(1))
        h, slopes, matrices, first = x, [], [], 0
        for n_in, n_out in self.shapes:
            matrix = weights[:, first : first + n_in * n_out].view(-1, n_in, n_out)
            first += n_in * n_out
            pre_activation = th.baddbmm(weights[:, first : first + n_out].unsqueeze(1), h, matrix)
            first += n_out
            h = F.softplus(pre_activation)
            slopes.append(th.sigmoid(pre_activation))
            matrices.append(matrix)
        # ψ is the last layer without its activation: backpropagate from there by hand
        g = matrices.pop().transpose(1, 2)
        for matrix, slope in zip(reversed(matrices), reversed(slopes[:-1]), strict=True):
            g = (g * slope) @ matrix.transpose(1, 2)
        return g


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{name}_seed{seed}", "method": method, "absolute": name == "absolute", "seed": seed} | BUDGETS[budget]
        for seed in range(n_seeds)
        for method, name in CONDITIONS.items()
    ]


def run(settings: dict[str, Any], run: Run) -> list[dict[str, Any]]:
    """Train with one kind of conditioning, and return the errors by noise scale; both kinds see the same noise."""
    th.manual_seed(settings["seed"])
    denoiser = HyperDenoiser(settings["width"], settings["absolute"])
    optimizer = th.optim.Adam(denoiser.parameters(), lr=1e-3)
    schedule = th.optim.lr_scheduler.StepLR(optimizer, max(settings["n_updates"] // 10, 1), 0.5)
    parts: dict[str, Stateful] = {"denoiser": denoiser, "optimizer": optimizer, "schedule": schedule}
    for _ in run.steps(settings["n_updates"], parts):
        sigma = PAPER_DELTA * th.randn(N_NOISE)
        u = th.randn(N_NOISE, BATCH, 1)
        scale = sigma.view(-1, 1, 1)
        loss = ardae_loss(denoiser(mixture.sample(BATCH) + scale * u, sigma), u, scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    key = {name: settings[name] for name in ("method", "seed", "n_updates", "width")}
    sigmas = [*noise_scales(settings["n_sigmas"]), 0.0]
    return [key | row for row in errors(lambda x, sigma: score(denoiser, x, sigma), sigmas)]


@th.no_grad()
def score(denoiser: HyperDenoiser, x: th.Tensor, sigma: float) -> th.Tensor:
    """Return f(x; σ) at points (n, 1)."""
    return denoiser(x.unsqueeze(0), th.tensor([sigma])).squeeze(0)


def summary(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    return mean_errors(rows, tuple(CONDITIONS))


def draw(results: Sequence[Result], path: Path) -> None:
    draw_errors([row for result in results for row in result.rows], tuple(CONDITIONS), path)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
