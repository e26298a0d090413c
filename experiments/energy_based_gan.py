"""Energy-based models of mixtures of 8 and 25 Gaussians in the plane: as GANs, and trained with Markov chains.

The divergence KL(p || p_θ) and the partition function are integrated on a grid of 800 x 800 points; the estimate of
ln Z is the model's own. Eight Gaussians lie on a circle of radius 2, twenty-five on a square grid with spacing 2, all
with standard deviation 0.2.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.common.checks import check_choice
from ardae_rl.ebm import EnergyBasedGAN, MarkovChainEBM
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result

DEVIATION = 0.2
ENERGY: dict[str, Any] = {"n_frequencies": 64}
INSTANCE_NOISE = 0.35
NARROW = {
    "network_kwargs": {"hidden": (128, 128, 128), "n_frequencies": 64},
    "normalization_kwargs": {"score_weight": 0.01},
}
METHODS: dict[str, dict[str, Any]] = {
    "flow": {"steps": 3000, "arguments": {"sampler": "flow", "sampler_kwargs": {"n_transforms": 3}}},
    "implicit": {
        "steps": 4000,
        "arguments": {
            "sampler": "implicit",
            "sampler_kwargs": {"n_score_updates": 2, "score_kwargs": NARROW},
        },
    },
    "cd": {"steps": 4000, "arguments": {}},
    "pcd": {"steps": 4000, "arguments": {"persistent": True}},
}
MODES = (8, 25)
KEY = ("modes", "method", "seed", "steps")
SEEDS = {"smoke": 1, "quick": 3}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": dict.fromkeys(METHODS, 2), "n_data": 100, "side": 40},
    "quick": {"steps": {name: method["steps"] for name, method in METHODS.items()}, "n_data": 20_000, "side": 800},
}
_HALF_WIDTH = 6.0


def modes(n: int) -> th.Tensor:
    """Return the centers of the Gaussians, (n, 2)."""
    if n == 8:
        angles = th.arange(8) * 2 * math.pi / 8
        return 2 * th.stack([angles.cos(), angles.sin()], 1)
    return th.cartesian_prod(2.0 * th.arange(-2, 3), 2.0 * th.arange(-2, 3))


def samples(n_modes: int, n: int) -> th.Tensor:
    """Return n samples of the mixture, (n, 2)."""
    centers = modes(n_modes)
    return centers[th.randint(len(centers), (n,))] + DEVIATION * th.randn(n, 2)


def log_density(n_modes: int, x: th.Tensor) -> th.Tensor:
    """Return the log-density of the mixture at points (n, 2), (n,)."""
    squares = (x.unsqueeze(1) - modes(n_modes)).square().sum(-1)
    return (-0.5 * squares / DEVIATION**2).logsumexp(1) - math.log(n_modes * 2 * math.pi * DEVIATION**2)


def grid(side: int) -> tuple[th.Tensor, float]:
    """Return the centers of side x side squares, (n, 2), and the logarithm of a square's area."""
    width = 2 * _HALF_WIDTH / side
    middles = (th.arange(side) + 0.5) * width - _HALF_WIDTH
    return th.cartesian_prod(middles, middles), 2 * math.log(width)


@th.no_grad()
def measures(model: Any, n_modes: int, side: int) -> dict[str, float]:
    """Return KL(p || p_θ) and ln Z, both integrated on the grid, and the model's own ln Z."""
    points, log_area = grid(side)
    log_model = th.cat([-model.energy(part) for part in points.split(20_000)]).double()
    log_z = log_model.logsumexp(0) + log_area
    log_p = log_density(n_modes, points).double()
    kl = ((log_p + log_area).exp() * (log_p - log_model + log_z)).sum()
    estimate = float(model.partition.log_z) if isinstance(model, EnergyBasedGAN) else math.nan
    return {"kl": float(kl), "grid_log_z": float(log_z), "log_z": estimate, "log_z_error": estimate - float(log_z)}


def runs(
    budget: str, n_seeds: int, *, modes: tuple[int, ...] = MODES, methods: tuple[str, ...] = tuple(METHODS)
) -> list[dict[str, Any]]:
    for n_modes in modes:
        check_choice("modes", n_modes, MODES)
    for method in methods:
        check_choice("methods", method, METHODS)
    sizes = BUDGETS[budget]
    return [
        {"name": f"{n_modes} {method} {seed}", "modes": n_modes, "method": method, "seed": seed}
        | sizes
        | {"steps": sizes["steps"][method]}
        for seed in range(n_seeds)
        for n_modes in modes
        for method in methods
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    start = time.monotonic()
    th.manual_seed(settings["seed"])
    n_modes, method = settings["modes"], settings["method"]
    data = samples(n_modes, settings["n_data"])
    is_gan = "sampler" in METHODS[method]["arguments"]
    kind = EnergyBasedGAN if is_gan else MarkovChainEBM
    model: Any = kind(2, energy_kwargs=ENERGY, **METHODS[method]["arguments"])
    model.fit(data, settings["steps"], **({"instance_noise": INSTANCE_NOISE} if is_gan else {}))
    th.save(model.energy.state_dict(), run.folder / "energy.pt")
    figures = {name: round(value, 4) for name, value in measures(model, n_modes, settings["side"]).items()}
    return [{name: settings[name] for name in KEY} | figures | {"seconds": round(time.monotonic() - start)}]


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the densities of the models of seed 0 next to the data's."""
    from matplotlib.figure import Figure as Plot

    from ardae_rl.ebm.energy import EnergyNetwork

    first = [result for result in results if result.settings["seed"] == 0]
    side = first[0].settings["side"]
    points, log_area = grid(side)
    names = list(dict.fromkeys(result.settings["method"] for result in first))
    data = sorted({result.settings["modes"] for result in first})
    figure = Plot(figsize=(2.4 * (1 + len(names)), 2.5 * len(data)), layout="constrained")
    for line, n_modes in zip(figure.subplots(len(data), 1 + len(names), squeeze=False), data, strict=True):
        shown = {"data": log_density(n_modes, points)}
        for settings, folder, _ in first:
            if settings["modes"] == n_modes:
                energy = EnergyNetwork(2, **ENERGY)
                energy.load_state_dict(th.load(folder / "energy.pt", weights_only=True))
                with th.no_grad():
                    log_model = th.cat([-energy(part) for part in points.split(20_000)])
                shown[settings["method"]] = log_model - log_model.logsumexp(0) - log_area
        for axes, name in zip(line, ["data", *names], strict=True):
            axes.set_title(name)
            axes.axis("off")
            if name in shown:
                image = shown[name].exp().reshape(side, side).T
                axes.imshow(image, origin="lower", vmax=float(shown["data"].max().exp()), cmap="magma")
    figure.savefig(path, dpi=110)


FIGURE = Figure(runs=runs, run=run, summary=(*KEY, "kl", "log_z_error", "seconds"), draw=draw, seeds=SEEDS, key=KEY)
