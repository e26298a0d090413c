"""Figure 4: samplers fitted to the four energies of Rezende and Mohamed, with different entropy gradients."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from torch.optim.lr_scheduler import StepLR

from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.score import ARDAE
from ardae_rl.score.entropy import EntropyBound, EntropyGradient
from ardae_rl.score.samplers import ConditionalGaussian, HierarchicalSampler, ImplicitSampler, Sampler
from experiments.ardae_paper.distances import earth_movers_distance
from experiments.ardae_paper.energies import ENERGIES, Energy, GridDensity
from experiments.figure import Figure, Result

SEEDS = {"smoke": 1, "quick": 1, "paper": 3}
BETAS = [0.5, 0.999]
# The network's input is x itself, whose scale is known here, with noise of standard deviation 0.1
RAW = {
    "parameterization": "score",
    "preconditioned": False,
    "noise_kwargs": {"relative": False, "scale": 0.1},
    "input_scale": 1.0,
    "normalization": None,
    "learning_rate": 1e-3,
    "betas": BETAS,
}
OURS = {
    "estimator": RAW | {"loss": "cv", "network_kwargs": {"activation": "silu", "hidden": [128] * 3}, "averaging": 5},
    "score_decay": 0.5,
}
# Without decay of the score's learning rate
PAPERS = {
    "estimator": RAW
    | {"loss": "ardae", "network_kwargs": {"activation": "softplus", "hidden": [256] * 3}, "averaging": 1},
    "score_decay": 1.0,
}
IMPLICIT = {"sampler": "implicit", "noise_dim": 10}
AUXILIARY = {"sampler": "hierarchical", "noise_dim": 2, "estimator": None}
METHODS: dict[str, dict[str, Any]] = {
    "auxiliary": AUXILIARY,
    # The baseline is sensitive to the annealing: with half as many annealed updates, it fails on other energies
    "auxiliary, annealed in half": AUXILIARY | {"annealing": 0.5},
    "AR-DAE hierarchical": {"sampler": "hierarchical", "noise_dim": 2, "min_log_variance": -4.0} | OURS,
    "AR-DAE implicit": IMPLICIT | OURS,
    "AR-DAE implicit, paper's estimator": IMPLICIT | PAPERS,
}
MEASURED = {"hidden": [256, 256, 256], "learning_rate": 1e-3, "n_samples": 1_000_000, "n_transported": 2000}
_TINY = {"hidden": [16, 16, 16], "learning_rate": 1e-3, "n_samples": 1000, "n_transported": 50}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": _TINY | {"n_updates": 3, "n_score_updates": 1, "batch_size": 16, "anneal_updates": 2, "decay_updates": 2},
    "quick": MEASURED
    | {"n_updates": 16_000, "n_score_updates": 2, "batch_size": 256, "anneal_updates": 8000, "decay_updates": 2300},
    # The number of annealed updates is that of the authors' code; their text does not give it
    "paper": MEASURED
    | {"n_updates": 100_000, "n_score_updates": 5, "batch_size": 1024, "anneal_updates": 20_000, "decay_updates": 5000},
}
_HISTOGRAM = "histogram.npy"
_CHUNK = 10_000  # samples drawn at once, to save memory


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return fits(METHODS, BUDGETS[budget], n_seeds)


def fits(methods: dict[str, dict[str, Any]], settings: dict[str, Any], n_seeds: int) -> list[dict[str, Any]]:
    """Return the settings of the runs: each method on each energy, with its own settings over the common ones."""
    return [
        settings
        | method
        | {"name": f"energy{energy}_{_file_name(name)}_{seed}", "energy": energy, "method": name, "seed": seed}
        for seed in range(n_seeds)
        for energy in ENERGIES
        for name, method in methods.items()
    ]


def run(settings: dict[str, Any], run: Run) -> Sequence[Row]:
    th.manual_seed(settings["seed"])
    keep_freed_memory()
    energy = ENERGIES[settings["energy"]]
    sampler = fit(energy, settings, run)
    row, shares = measure(sampler, GridDensity(energy), settings["n_samples"], settings["n_transported"])
    np.save(run.folder / _HISTOGRAM, shares.numpy())
    return [{name: settings[name] for name in ("energy", "method", "seed", "n_updates")} | row]


def fit(energy: Energy, settings: dict[str, Any], run: Run) -> Sampler:
    """Minimize -H(p) + α E[U(x)], where α rises from 0.01 to 1 (Lim et al. 2020, Eq. 15)."""
    sampler, entropy = _sampler(settings)
    parameters = [*sampler.parameters(), *entropy.trainable_parameters()]
    optimizer = th.optim.Adam(parameters, lr=settings["learning_rate"], betas=(BETAS[0], BETAS[1]), fused=True)
    schedule = StepLR(optimizer, settings["decay_updates"], 0.5)
    parts: dict[str, Stateful] = {"sampler": sampler, "optimizer": optimizer, "schedule": schedule, **entropy.parts()}
    annealed_after = settings.get("annealing", 1.0) * settings["anneal_updates"]
    for step in run.steps(settings["n_updates"], parts):
        alpha = min(1.0, 0.01 + 0.99 * step / annealed_after)
        x, surrogate = entropy(settings["batch_size"])
        optimizer.zero_grad()
        (alpha * energy(x).mean() - surrogate).backward()
        optimizer.step()
        schedule.step()
    return sampler


def _sampler(settings: dict[str, Any]) -> tuple[Sampler, EntropyBound | EntropyGradient]:
    noise_dim, hidden = settings["noise_dim"], settings["hidden"]
    sampler: Sampler
    if settings["sampler"] == "implicit":
        sampler = ImplicitSampler(noise_dim, 2, hidden)
    else:
        sampler = HierarchicalSampler(noise_dim, 2, hidden, settings.get("min_log_variance", -th.inf))
        if settings["estimator"] is None:
            return sampler, EntropyBound(sampler, ConditionalGaussian(2, noise_dim, hidden))
    estimator = ARDAE(2, **settings["estimator"])
    schedule = StepLR(estimator.optimizer, settings["decay_updates"], settings["score_decay"])
    return sampler, EntropyGradient(sampler, estimator, schedule, settings["n_score_updates"])


@th.no_grad()
def measure(sampler: Sampler, density: GridDensity, n: int, n_transported: int) -> tuple[dict[str, float], th.Tensor]:
    """Return a sampler's distances to the density, with those of exact samples ("floor"), and its histogram.

    :param n: Number of samples in the histogram.
    :param n_transported: Number of samples for the earth mover's distance.
    """
    x = th.cat([sampler(_CHUNK) for _ in range(math.ceil(n / _CHUNK))])[:n]
    exact, other = density.sample(n), density.sample(n_transported)
    shares = density.histogram(x)
    row = {
        "total_variation": round(density.total_variation(shares), 4),
        "total_variation_floor": round(density.total_variation(density.histogram(exact)), 4),
        "reverse_kl": round(density.reverse_kl(shares), 4),
        "emd": round(earth_movers_distance(x[:n_transported], other), 3),
        "emd_floor": round(earth_movers_distance(exact[:n_transported], other), 3),
        "coverage": round(density.coverage(x), 3),
    }
    return row, shares


def summary(rows: Sequence[dict[str, str]]) -> Sequence[Row]:
    """Return, by method, the mean total variation over seeds for each energy, and the worst coverage of a region."""
    methods, energies = (list(dict.fromkeys(row[name] for row in rows)) for name in ("method", "energy"))
    table: list[Row] = []
    for method in methods:
        of_method = [row for row in rows if row["method"] == method]
        distances = {
            energy: [float(row["total_variation"]) for row in of_method if row["energy"] == energy]
            for energy in energies
        }
        means = {f"TV {energy}": float(np.mean(values)) for energy, values in distances.items()}
        table.append({"method": method} | means | {"worst coverage": min(float(row["coverage"]) for row in of_method)})
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot a row per energy: the target, and each method's fit of the first seed."""
    from matplotlib.figure import Figure as Plot

    first = {(r.settings["energy"], r.settings["method"]): r for r in results if r.settings["seed"] == 0}
    numbers, methods = (list(dict.fromkeys(names)) for names in zip(*first, strict=True))
    figure = Plot(figsize=(2.5 * (1 + len(methods)), 2.3 * len(numbers)), layout="constrained")
    panels = figure.subplots(len(numbers), 1 + len(methods), squeeze=False)
    for row, number in enumerate(numbers):
        left, right, bottom, top = ENERGIES[number].bounds
        target = GridDensity(ENERGIES[number]).log_cells.exp().numpy()
        images = [(target, "target" if row == 0 else "")]
        for method in methods:
            fitted = first[number, method]
            distance = f"TV {float(fitted.rows[0]['total_variation']):.3f}"
            title = method.replace(", ", ",\n") + f"\n{distance}" if row == 0 else distance
            images.append((np.load(fitted.folder / _HISTOGRAM), title))
        for axes, (shares, title) in zip(panels[row], images, strict=True):
            axes.imshow(shares.T, origin="lower", extent=(left, right, bottom, top), aspect="auto", vmax=target.max())
            axes.set_title(title, fontsize=9)
            axes.tick_params(labelsize=7)
        panels[row, 0].set_ylabel(f"energy {number}\n$x_2$", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("$x_1$", fontsize=9)
    figure.savefig(path, dpi=110)


def _file_name(method: str) -> str:
    return method.replace("'", "").replace(",", "").replace(" ", "_")


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
