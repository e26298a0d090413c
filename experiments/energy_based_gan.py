"""Energy-based models of mixtures of 8 and 25 Gaussians in the plane: as a GAN, and by Markov chains.

    python -m experiments.energy_based_gan [--data 8,25] [--methods flow,implicit,cd,pcd] [--seeds 3] [--jobs 2]

The divergence KL(p || p_θ) and the partition function are integrated on a grid of 800 x 800 points; the estimate of
ln Z is the model's own. Eight Gaussians stand on a circle of radius 2, twenty-five at distances of 2, all with
deviation 0.2. Written to results/energy_based_gan.csv, a row for each run, and a picture of the densities of seed 0.
"""

import argparse
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.ebm.gan import EnergyBasedGAN, MarkovChainEBM
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import versions, write_csv
from experiments.common import RESULTS, check_names, run_folder, table_of_runs

DEVIATION = 0.2
ENERGY = {"n_frequencies": 64}
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
folder = partial(run_folder, "energy_based_gan")
_N_DATA, _SIDE, _HALF_WIDTH = 20_000, 800, 6.0


def modes(n: int) -> th.Tensor:
    """(n, 2)"""
    if n == 8:
        angles = th.arange(8) * 2 * math.pi / 8
        return 2 * th.stack([angles.cos(), angles.sin()], 1)
    return th.cartesian_prod(2.0 * th.arange(-2, 3), 2.0 * th.arange(-2, 3))


def draw(n_modes: int, n: int) -> th.Tensor:
    """Samples, (n, 2)."""
    centres = modes(n_modes)
    return centres[th.randint(len(centres), (n,))] + DEVIATION * th.randn(n, 2)


def log_density(n_modes: int, x: th.Tensor) -> th.Tensor:
    """Of the mixture, (n)."""
    squares = (x.unsqueeze(1) - modes(n_modes)).square().sum(-1)
    return (-0.5 * squares / DEVIATION**2).logsumexp(1) - math.log(n_modes * 2 * math.pi * DEVIATION**2)


def grid() -> tuple[th.Tensor, float]:
    """Middles of squares, (n, 2), and ln of a square's area."""
    width = 2 * _HALF_WIDTH / _SIDE
    middles = (th.arange(_SIDE) + 0.5) * width - _HALF_WIDTH
    return th.cartesian_prod(middles, middles), 2 * math.log(width)


@th.no_grad()
def measures(model: Any, n_modes: int) -> dict[str, float]:
    """KL(p || p_θ) and ln Z by the grid, and the model's own ln Z."""
    points, log_area = grid()
    log_model = th.cat([-model.energy(part) for part in points.split(20_000)]).double()
    log_z = log_model.logsumexp(0) + log_area
    log_p = log_density(n_modes, points).double()
    kl = ((log_p + log_area).exp() * (log_p - log_model + log_z)).sum()
    own = float(model.partition.log_z) if isinstance(model, EnergyBasedGAN) else math.nan
    return {"kl": float(kl), "grid_log_z": float(log_z), "log_z": own, "log_z_error": own - float(log_z)}


def run(settings: dict[str, Any], run: Run) -> str:
    start = time.monotonic()
    th.manual_seed(settings["seed"])
    n_modes, method = settings["modes"], settings["method"]
    data = draw(n_modes, _N_DATA)
    is_gan = "sampler" in METHODS[method]["arguments"]
    kind = EnergyBasedGAN if is_gan else MarkovChainEBM
    model: Any = kind(2, energy_kwargs=ENERGY, **METHODS[method]["arguments"])
    model.fit(data, settings["steps"], **({"instance_noise": INSTANCE_NOISE} if is_gan else {}))
    th.save(model.energy.state_dict(), run.folder / "energy.pt")
    figures = {name: round(value, 4) for name, value in measures(model, n_modes).items()}
    settled = {name: settings[name] for name in ("modes", "method", "seed", "steps")}
    write_csv(run.folder / "row.csv", [settled | figures | {"seconds": round(time.monotonic() - start)} | versions()])
    return f"{settings['name']}: KL {figures['kl']:.4f}, error of ln Z {figures['log_z_error']:.4f}"


def picture(done: Sequence[dict[str, Any]], path: Path) -> None:
    """Densities of the models of seed 0 beside the data's."""
    from matplotlib.figure import Figure as Plot

    from ardae_rl.ebm.energy import EnergyNetwork

    points, log_area = grid()
    names = [name for name in METHODS if any(settings["method"] == name for settings in done)]
    data = sorted({int(settings["modes"]) for settings in done})
    figure = Plot(figsize=(2.4 * (1 + len(names)), 2.5 * len(data)), layout="constrained")
    for line, n_modes in zip(figure.subplots(len(data), 1 + len(names), squeeze=False), data, strict=True):
        shown = {"data": log_density(n_modes, points)}
        for settings in done:
            if settings["modes"] == n_modes and settings["seed"] == 0:
                energy = EnergyNetwork(2, **ENERGY)
                energy.load_state_dict(th.load(folder(settings) / "energy.pt", weights_only=True))
                with th.no_grad():
                    log_model = th.cat([-energy(part) for part in points.split(20_000)])
                shown[settings["method"]] = log_model - log_model.logsumexp(0) - log_area
        for axes, name in zip(line, ["data", *names], strict=True):
            axes.set_title(name)
            axes.axis("off")
            if name in shown:
                image = shown[name].exp().reshape(_SIDE, _SIDE).T
                axes.imshow(image, origin="lower", vmax=float(shown["data"].max().exp()), cmap="magma")
    figure.savefig(path, dpi=110)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="8,25", help="numbers of Gaussians")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    data = check_names(parser, "--data", options.data, ("8", "25"))
    methods = check_names(parser, "--methods", options.methods, METHODS)
    runs: list[dict[str, Any]] = [
        {
            "name": f"{n_modes} {method} {seed}",
            "modes": int(n_modes),
            "method": method,
            "seed": seed,
            "steps": METHODS[method]["steps"],
        }
        for seed in range(options.seeds)
        for n_modes in data
        for method in methods
    ]
    table, shown = options.out / "energy_based_gan.csv", ("modes", "method", "seed", "kl", "log_z_error", "seconds")
    done = table_of_runs(run, folder, runs, options.jobs, table, ("modes", "method", "seed"), shown)
    picture(done, table.with_suffix(".png"))


if __name__ == "__main__":
    main()
