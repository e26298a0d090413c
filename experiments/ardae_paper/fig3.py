"""Figure 3: error of denoising autoencoders as score estimates of a mixture, by noise scale (Section 4.2, App. D.1).

Denoisers for one noise scale, trained from scratch or initialized with those for the next larger scale ("annealed"),
are compared with AR-DAE and this package's two changes to it. No method makes more network evaluations per update than
the paper's AR-DAE.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.score import ARDAE
from experiments.ardae_paper import mixture
from experiments.ardae_paper.error_curves import draw_errors, mean_errors
from experiments.figure import Figure, Result

SEEDS = {"smoke": 1, "quick": 2, "paper": 5}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"n_updates": 3, "width": 8, "n_sigmas": 2},
    "quick": {"n_updates": 1_500, "width": 64, "n_sigmas": 7},
    "paper": {"n_updates": 10_000, "width": 256, "n_sigmas": 13},
}
BATCH, N_TEST = 256, 1000
N_NOISE = 10  # noise draws per sample in the paper's AR-DAE
PAPER_DELTA = 0.05
FASTER = 3e-3  # learning rate; the paper's is 1e-3
FIXED = ("regDAE", "resDAE", "regDAE annealed", "resDAE annealed")
AMORTIZED = ("AR-DAE", "AR-DAE, faster", "preconditioned", "default")

ScoreAtNoise = Callable[[th.Tensor, float], th.Tensor]  # maps points (n, 1) and σ to f(x; σ), (n, 1)


class RegularDAE(nn.Module):
    """A denoising autoencoder r(x + σu) ≈ x, whose score estimate is (r(y) - y) / σ² (Alain and Bengio 2014)."""

    def __init__(self, sigma: float, width: int, learning_rate: float = 1e-3):
        super().__init__()
        self.sigma = sigma
        sizes = (1, width, width, width)
        layers = [m for k in range(3) for m in (nn.Linear(sizes[k], sizes[k + 1]), nn.Softplus())]
        self.network = nn.Sequential(*layers, nn.Linear(width, 1))
        self.optimizer = th.optim.Adam(self.network.parameters(), lr=learning_rate)

    def update(self, samples: th.Tensor) -> None:
        """Take one gradient step on samples (n, 1)."""
        samples = samples.repeat_interleave(N_NOISE, dim=0)
        loss = F.mse_loss(self.network(samples + self.sigma * th.randn_like(samples)), samples)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @th.no_grad()
    def score(self, x: th.Tensor) -> th.Tensor:
        return (self.network(x) - x) / self.sigma**2


def make_fixed(method: str, sigma: float, width: int) -> ARDAE | RegularDAE:
    """Return a denoiser for one noise scale."""
    if method.startswith("regDAE"):
        return RegularDAE(sigma, width)
    return ARDAE(1, **_paper_arguments(width, scale=sigma, distribution="fixed"))


def amortized_arguments(method: str, width: int) -> dict[str, Any]:
    """Return the arguments of an estimator for all noise scales.

    "AR-DAE" is the paper's, "AR-DAE, faster" has the larger learning rate that also suits this package's form,
    "preconditioned" is the paper's loss in this package's coordinates, and "default" this package's loss in them.
    """
    if method == "AR-DAE":
        return _paper_arguments(width, scale=PAPER_DELTA)
    if method == "AR-DAE, faster":
        return amortized_arguments("AR-DAE", width) | {"learning_rate": FASTER}
    if method == "preconditioned":
        return {
            "loss": "ardae",
            "normalization": None,
            "noise_kwargs": {"n_samples": N_NOISE},
            "learning_rate": FASTER,
        }
    # Three evaluations per draw: noisy, clean, contrastive reference
    return {"noise_kwargs": {"n_samples": N_NOISE // 3}, "learning_rate": FASTER}


def _paper_arguments(width: int, **noise: Any) -> dict[str, Any]:
    return dict(
        preconditioned=False,
        noise_kwargs={"relative": False, "n_samples": N_NOISE} | noise,
        input_scale=1.0,
        loss="ardae",
        normalization=None,
        network_kwargs={"activation": "softplus", "hidden": [width] * 3},
        betas=[0.9, 0.999],
        averaging=1,
        max_grad_norm=1e9,
    )


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    common = BUDGETS[budget]
    result = []
    for seed in range(n_seeds):
        for method in (*FIXED, *AMORTIZED):
            name = method.replace(",", "").replace(" ", "_")
            settings = {"name": f"{name}_seed{seed}", "method": method, "seed": seed} | common
            if method in AMORTIZED:
                settings["estimator"] = amortized_arguments(method, common["width"])
            result.append(settings)
    return result


def noise_scales(n: int) -> list[float]:
    """Return n noise scales from 1 to 0.001."""
    return th.logspace(0, -3, n, dtype=th.float64).tolist()


def run(settings: dict[str, Any], run: Run) -> list[dict[str, Any]]:
    """Train one method, and return its errors by noise scale."""
    th.manual_seed(settings["seed"])
    method, width, n_updates = settings["method"], settings["width"], settings["n_updates"]
    sigmas = noise_scales(settings["n_sigmas"])
    if method in AMORTIZED:
        score = train_amortized(settings["estimator"], n_updates, run)
        sigmas.append(0.0)
    else:
        score = train_fixed(method, width, sigmas, n_updates, run)
    key = {name: settings[name] for name in ("method", "seed", "n_updates", "width")}
    return [key | row for row in errors(score, sigmas)]


def train_amortized(arguments: dict[str, Any], n_updates: int, run: Run) -> ScoreAtNoise:
    """Train one estimator for all noise scales."""
    estimator = ARDAE(1, **arguments)
    train(estimator, n_updates, run, "estimator")
    return lambda x, sigma: estimator.score(x, noise_scale=sigma / unit(estimator))


def train_fixed(method: str, width: int, sigmas: Sequence[float], n_updates: int, run: Run) -> ScoreAtNoise:
    """Train a denoiser for each noise scale; annealed ones start with the weights for the previous scale."""
    denoisers: dict[float, ARDAE | RegularDAE] = {}
    for k, sigma in enumerate(sigmas):
        denoiser = denoisers[sigma] = make_fixed(method, sigma, width)
        if k > 0 and method.endswith("annealed"):
            denoiser.load_state_dict(denoisers[sigmas[k - 1]].state_dict())
        train(denoiser, n_updates, run, f"sigma_{sigma:.4g}")
    return lambda x, sigma: denoisers[sigma].score(x)


def train(model: ARDAE | RegularDAE, n_updates: int, run: Run, checkpoint: str) -> None:
    """Train with Adam; the learning rate is halved after each tenth of the updates."""
    schedule = th.optim.lr_scheduler.StepLR(model.optimizer, max(n_updates // 10, 1), 0.5)
    parts: dict[str, Stateful] = {"model": model, "optimizer": model.optimizer, "schedule": schedule}
    for _ in run.steps(n_updates, parts, checkpoint=checkpoint):
        model.update(mixture.sample(BATCH))
        schedule.step()


def unit(estimator: ARDAE) -> float:
    """Return the noise that a scale of 1 means for this estimator, in units of x."""
    if estimator._noise_unit != 1.0 or not hasattr(estimator.standardizer, "network"):
        return 1.0
    return float(estimator.standardizer(th.zeros(1, 0))[1].exp())


def errors(score: ScoreAtNoise, sigmas: Sequence[float]) -> list[dict[str, str]]:
    """Return E|∇ ln p - f(x; σ)| at each noise scale, as columns "sigma" and "error"."""
    x = mixture.sample(N_TEST)
    exact = mixture.score(x)
    return [
        {"sigma": f"{sigma:.4g}", "error": f"{float((score(x, sigma) - exact).abs().mean()):.5g}"} for sigma in sigmas
    ]


def summary(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    return mean_errors(rows, (*FIXED, *AMORTIZED))


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the error by noise scale: a line for each method, and the optimum."""
    rows = [row for result in results for row in result.rows]
    draw_errors(rows, (*FIXED, *AMORTIZED), path)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
