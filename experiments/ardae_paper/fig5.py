"""Figure 5: a variational autoencoder with an implicit posterior on the 5 x 5 grid of Gaussians (Section 6.2, F.3).

The posterior's entropy gradient comes from a residual denoising autoencoder with one large or one small noise scale, or
from AR-DAE: with the same network, as in the paper, and in this package's preconditioned form.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch as th
from torch.optim.lr_scheduler import LinearLR

from ardae_rl.common.training import Stateful
from ardae_rl.runs.run import History, Run
from ardae_rl.runs.tables import Row, read_csv, write_csv
from ardae_rl.score import ARDAE
from experiments.ardae_paper.vae import GaussianDecoder, ImplicitEncoder, update_score, update_vae
from experiments.figure import Figure, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEDS = {"smoke": 1, "quick": 2, "paper": 2}
CENTERS = th.cartesian_prod(th.linspace(-4, 4, 5), th.linspace(-4, 4, 5))
DEVIATION = 0.1**0.5  # standard deviation of each Gaussian, and of the likelihood
METHODS = {
    "dae_large": "DAE, σ = 0.5",
    "dae_small": "DAE, σ = 0.001",
    "ardae_raw": "AR-DAE, same network",
    "ardae": "AR-DAE, preconditioned",
}
FIXED_NOISE = {
    "dae_large": 0.5,
    "dae_small": 0.001,
}  # in units of z, where a good posterior has a standard deviation of about 0.13
QUICK: dict[str, Any] = {
    "n_updates": 2500,
    "batch_size": 256,
    "n_latents": 8,  # per data point, in an update of the estimator
    "n_score_updates": 2,
    "hidden": 128,
    "learning_rates": {"encoder": 3e-4, "decoder": 3e-3},
    "last_learning_rate": 0.1,  # fraction of the first, to which all learning rates decay linearly
    "n_evaluated": 100_000,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": QUICK | {"n_updates": 4, "batch_size": 16, "n_latents": 2, "hidden": 8, "n_evaluated": 500},
    "quick": QUICK,
    "paper": QUICK
    | {"n_updates": 62_500, "batch_size": 512, "n_latents": 256, "n_score_updates": 1, "hidden": 256}
    | {"learning_rates": {"encoder": 1e-4, "decoder": 1e-4}, "last_learning_rate": 1.0},
}
_CURVE, _MAPS = "log_variance.csv", "maps.pt"
_STEP = 0.1  # distance between the data points whose latents the roughness compares


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    """Return the settings by method and seed; the paper's are those of its Tables 5 and 6, column "toy"."""
    return [
        {
            "name": f"{method}_seed{seed}",
            "method": method,
            "seed": seed,
            **BUDGETS[budget],
            "estimator": _estimator(method, budget),
        }
        for seed in range(n_seeds)
        for method in METHODS
    ]


def _estimator(method: str, budget: str) -> dict[str, Any]:
    """Return the score estimator's arguments; all but "ardae" share a network and differ only in the noise."""
    quick = budget != "paper"
    if method == "ardae":
        return {"parameterization": "score", "learning_rate": 3e-3 if quick else 1e-3}
    shared: dict[str, Any] = {"preconditioned": False, "loss": "ardae", "averaging": 1}
    network: dict[str, Any] = {"context_gain": False, "activation": "softplus"}
    if quick:
        shared |= {"parameterization": "score", "input_scale": 10.0, "learning_rate": 3e-3}
    else:
        shared |= {"parameterization": "energy", "input_scale": 1e4, "learning_rate": 1e-4}
        network |= {"hidden": [256] * 3, "point_hidden": [256] * 3, "context_hidden": [256] * 3}
    noise: dict[str, Any] = {"scale": 0.1}
    if method != "ardae_raw":
        noise = {"distribution": "fixed", "relative": False, "scale": FIXED_NOISE[method]}
    return shared | {"network_kwargs": network, "noise_kwargs": noise}


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train; save the posteriors' variance during training, and some samples and latents."""
    th.manual_seed(settings["seed"])
    encoder = ImplicitEncoder(2, 2, noise_dim=10, hidden=settings["hidden"])
    decoder = GaussianDecoder(2, 2, hidden=settings["hidden"], deviation=DEVIATION)
    estimator = ARDAE(dim=2, context_dim=2, normalization=None, **settings["estimator"])
    rates = settings["learning_rates"]
    optimizer = th.optim.Adam(
        [
            {"params": encoder.parameters(), "lr": rates["encoder"]},
            {"params": decoder.parameters(), "lr": rates["decoder"]},
        ],
        betas=(0.5, 0.999),
        fused=True,
    )
    n_updates, records = settings["n_updates"], History()
    schedules = [LinearLR(o, 1.0, settings["last_learning_rate"], n_updates) for o in (optimizer, estimator.optimizer)]
    parts: dict[str, Stateful] = {"encoder": encoder, "decoder": decoder, "estimator": estimator, "records": records}
    parts |= {"optimizer": optimizer, "estimator_optimizer": estimator.optimizer}
    parts |= {"schedule": schedules[0], "estimator_schedule": schedules[1]}
    record_every = max(1, n_updates // 100)
    for step in run.steps(n_updates, parts):
        x = draw_data(settings["batch_size"])
        for _ in range(settings["n_score_updates"]):
            update_score(estimator, encoder, x, settings["n_latents"])
        update_vae(encoder, decoder, estimator, optimizer, x)
        for schedule in schedules:
            schedule.step()
        if step % record_every == 0 or step + 1 == n_updates:
            spread = posterior_log_variance(encoder, draw_data(500)).mean().item()
            records.append({"n_updates": step + 1, "log_variance": round(spread, 4)})
    write_csv(run.folder / _CURVE, records)
    _save_maps(encoder, decoder, run.folder / _MAPS)
    numbers = evaluate(encoder, decoder, settings["n_evaluated"])
    numbers["log_variance_jumps"] = round(jumps([record["log_variance"] for record in records]), 5)
    return [{key: settings[key] for key in ("method", "seed", "n_updates")} | numbers]


def draw_data(n: int) -> th.Tensor:
    """Return n samples of the 25 Gaussians, (n, 2)."""
    return CENTERS[th.randint(len(CENTERS), (n,))] + DEVIATION * th.randn(n, 2)


@th.no_grad()
def evaluate(encoder: ImplicitEncoder, decoder: GaussianDecoder, n: int) -> dict[str, float]:
    """Measure a trained autoencoder, and return columns of the table."""
    x = draw_data(n)
    z = encoder(x, 1).squeeze(1)
    samples = decoder(th.randn(n, 2)).sample()
    distance, mode = nearest_center(samples)
    shares = mode.bincount(minlength=len(CENTERS)) / n
    numbers = {
        "min_share": float(shares.min()),
        "max_share": float(shares.max()),
        "far_share": float((distance > 3 * DEVIATION).float().mean()),
        "total_variation": total_variation(samples),
        "log_variance": float(posterior_log_variance(encoder, x[:4000]).mean()),
        "aggregate_kl": aggregate_kl(z),
        "log_variance_spread": float(posterior_log_variance(encoder, x[:4000]).std()),
        "roughness": roughness(encoder, x[:4000]),
        "reconstruction_error": float((decoder(z).mean - x).square().sum(-1).mean().sqrt()),
    }
    return {name: round(value, 5) for name, value in numbers.items()}


def nearest_center(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the distances (n,) of points (n, 2) to the nearest of the 25 centers, and the centers' indices (n,)."""
    nearest = th.cdist(x, CENTERS).min(dim=1)
    return nearest.values, nearest.indices


@th.no_grad()
def posterior_log_variance(encoder: ImplicitEncoder, x: th.Tensor, n: int = 64) -> th.Tensor:
    """Return ln Var[z|x], averaged over dimensions, (batch,), estimated from ``n`` latents per data point."""
    return encoder(x, n).var(dim=1).log().mean(-1)


def jumps(curve: Sequence[float]) -> float:
    """Return the mean absolute difference between successive records, over the second half of training."""
    half = th.tensor(curve[len(curve) // 2 - 1 :])
    return float(half.diff().abs().mean())


@th.no_grad()
def roughness(encoder: ImplicitEncoder, x: th.Tensor) -> float:
    """Return the mean of ‖g(0, x + δ) - 2 g(0, x) + g(0, x - δ)‖ / ‖δ‖ over directions of δ: the change of slope."""
    step = th.randn_like(x)
    step *= _STEP / step.norm(dim=-1, keepdim=True)
    bend = encoder.center(x + step) - 2 * encoder.center(x) + encoder.center(x - step)
    return float(bend.norm(dim=-1).mean() / _STEP)


def histogram(x: th.Tensor, edges: th.Tensor) -> th.Tensor:
    """Return the fractions of points (n, 2) in the cells of a square grid, (k, k) for k + 1 edges."""
    counts, _ = th.histogramdd(x, [edges, edges])
    return counts / len(x)


def aggregate_kl(z: th.Tensor) -> float:
    """Return KL(aggregate posterior ‖ N(0, I)) of latents (n, 2): 40 x 40 cells on [-4, 4]², and one cell outside.

    For n exact samples of N(0, I), it is about (number of cells that they reach) / 2n: 0.005 for 100,000 samples.
    """
    edges = th.linspace(-4, 4, 41)
    one = th.special.ndtr(edges).diff()
    q, p = _with_outside(histogram(z, edges)), _with_outside(th.outer(one, one))
    return float(th.xlogy(q, q / p).sum())


def total_variation(samples: th.Tensor) -> float:
    """Return the total variation of samples (n, 2) to the data: 60 x 60 cells on [-6, 6]², and one cell outside."""
    edges = th.linspace(-6, 6, 61)
    one = th.special.ndtr((edges[:, None] - th.linspace(-4, 4, 5)) / DEVIATION).mean(-1).diff()
    return 0.5 * float((_with_outside(histogram(samples, edges)) - _with_outside(th.outer(one, one))).abs().sum())


def _with_outside(shares: th.Tensor) -> th.Tensor:
    flat = shares.double().flatten()
    return th.cat([flat, (1 - flat.sum()).clamp_min(1e-12).unsqueeze(0)])


@th.no_grad()
def _save_maps(encoder: ImplicitEncoder, decoder: GaussianDecoder, path: Path, n: int = 5000) -> None:
    x = draw_data(n)
    th.save({"samples": decoder(th.randn(n, 2)).sample(), "latents": encoder(x, 1).squeeze(1), "x": x}, path)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return, by method, the extreme fractions of a mode, and means over seeds of the indicators of a collapse."""
    result: list[Row] = []
    for method in dict.fromkeys(row["method"] for row in rows):
        of_method = [row for row in rows if row["method"] == method]
        means = {name: fmean(float(row[name]) for row in of_method) for name in ("log_variance", "aggregate_kl")}
        smallest = min(float(row["min_share"]) for row in of_method)
        largest = max(float(row["max_share"]) for row in of_method)
        result.append({"method": method, "min_share": smallest, "max_share": largest} | means)
    return result


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot, as in the paper, a column per method: samples above, latents below, in the colors of the modes."""
    from matplotlib.figure import Figure as Plot

    th.manual_seed(0)
    first = {result.settings["method"]: result for result in reversed(results)}
    first = {method: first[method] for method in METHODS if method in first}
    figure = Plot(figsize=(2.9 * (len(first) + 2), 5.8), layout="constrained")
    axes = figure.subplots(2, len(first) + 2)
    data = draw_data(5000)
    _scatter(axes[0, 0], data, data, 6, "data x")
    _scatter(axes[1, 0], th.randn(5000, 2), None, 4, "prior p(z)")
    for column, (method, result) in enumerate(first.items(), start=1):
        maps = th.load(result.folder / _MAPS, weights_only=True)
        _scatter(axes[0, column], maps["samples"], maps["samples"], 6, f"{METHODS[method]}\nsamples x ~ p(x)")
        _scatter(axes[1, column], maps["latents"], maps["x"], 4, "latents z ~ q(z|x)")
    _draw_curves(axes[0, -1], results)
    _draw_shares(axes[1, -1], results)
    figure.savefig(path, dpi=130)


def _scatter(axes: "Axes", points: th.Tensor, x: th.Tensor | None, limit: float, title: str) -> None:
    colors = "0.5" if x is None else nearest_center(x)[1].numpy() * 7 % 25  # neighbors in different colors
    axes.scatter(points[:, 0], points[:, 1], c=colors, cmap=None if x is None else "nipy_spectral", s=1.5, lw=0)
    axes.set(title=title, xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=[], yticks=[])


def _draw_curves(axes: "Axes", results: Sequence[Result]) -> None:
    for result in results:
        curve = read_csv(result.folder / _CURVE)
        columns = ([float(row[name]) for row in curve] for name in ("n_updates", "log_variance"))
        method, seed = result.settings["method"], result.settings["seed"]
        axes.plot(*columns, color=_color(method), label=METHODS[method] if seed == 0 else None)
    axes.set(title="mean log-variance of q(z|x)", xlabel="updates")
    axes.legend(fontsize="small")


def _draw_shares(axes: "Axes", results: Sequence[Result]) -> None:
    for result in results:
        method, seed = result.settings["method"], result.settings["seed"]
        ends = [100 * float(result.rows[0][name]) for name in ("min_share", "max_share")]
        axes.plot([list(METHODS).index(method) + 0.2 * seed] * 2, ends, "_-", color=_color(method))
    axes.axhspan(2, 8, color="0.9", zorder=0)  # half and twice each mode's fraction of the data
    axes.axhline(4, color="0.6", lw=1, zorder=0)
    axes.set(title="smallest to largest share of a mode\nin the samples (%), by seed", xticks=[], ylim=(0, None))


def _color(method: str) -> str:
    return f"C{list(METHODS).index(method)}"


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS)
