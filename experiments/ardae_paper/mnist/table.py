"""What the tables of dynamically and of statically binarized MNIST share: a run, its row and the drawing."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, write_csv
from experiments.ardae_paper.mnist.annealed import annealed_estimate
from experiments.ardae_paper.mnist.autoencoder import Autoencoder
from experiments.ardae_paper.mnist.bounds import Bound, TractableBound
from experiments.ardae_paper.mnist.data import Split, generated_split, load_split
from experiments.ardae_paper.mnist.density import PosteriorDensity
from experiments.ardae_paper.mnist.evaluation import (
    Estimate,
    evaluate_images,
    fit_laplace,
    laplace_estimate,
    paper_estimate,
)
from experiments.ardae_paper.mnist.images import PARTS, draw_images, tiled
from experiments.ardae_paper.mnist.methods import METHODS, make_trainee
from experiments.ardae_paper.mnist.training import train
from experiments.figure import Result

KEY = ("architecture", "method", "seed", "n_updates")
_CURVE, _IMAGES, _MODEL = "validation.csv", "images.pt", "model.pt"


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train an autoencoder, evaluate it on test images, and return its row of the table."""
    th.manual_seed(settings["seed"])
    device = settings["device"]
    split = generated_split()
    if not settings["generated"]:
        split = load_split(Path(settings["data"]), settings["binarization"])
    split = Split(*(images.to(device) for images in split))
    if settings["with_validation_images"]:
        split = split._replace(train=th.cat([split.train, split.valid]))
    trainee = make_trainee(settings["architecture"], settings["method"], settings["networks"], settings["entropy"])
    trainee.model.to(device), trainee.bound.to(device)
    records = train(trainee, settings, split, run)
    model = trainee.model
    write_csv(run.folder / _CURVE, records)
    th.save(model.state_dict(), run.folder / _MODEL)
    th.manual_seed(settings["seed"])
    th.save({name: tiles.cpu() for name, tiles in draw_images(model, split.test).items()}, run.folder / _IMAGES)
    numbers = evaluate(model, trainee.bound, split, settings)
    numbers["ms_per_update"] = round(1e3 * seconds_per_update(records), 2)
    numbers["best_at"] = max(records, key=lambda record: record["log_prob"])["n_updates"]
    return [{key: settings[key] for key in KEY} | numbers]


def evaluate(model: Autoencoder, bound: Bound, split: Split, settings: dict[str, Any]) -> dict[str, Any]:
    """Return columns of the table: means over test images, and medians of effective sample sizes."""
    test, n = split.test[: settings["n_test"]], settings["n_draws"]
    laplace = evaluate_images(lambda x: laplace_estimate(model, x, n), test)
    paper = evaluate_images(lambda x: paper_estimate(model, bound, x, n), test)
    if isinstance(bound, TractableBound):
        with th.no_grad():
            elbo = th.cat([bound.log_weights(x, 100).mean(1) for x in test.split(50)])
    else:
        density = PosteriorDensity(model, split.train, settings["n_density_updates"])
        elbo = th.cat([density.bound(x, 100) for x in test.split(50)])
    subset = test[: settings["n_annealed"]]
    annealed = evaluate_images(lambda x: _annealed(model, x, settings["n_temperatures"]), subset)
    numbers = {
        "log_prob": float(laplace.log_prob.mean()),
        "standard_error": float(laplace.log_prob.std() / len(test) ** 0.5),
        "sampling_error": sampling_error(laplace),
        "sample_size": float(laplace.sample_size.median()),
        "elbo": float(elbo.mean()),
        "gap": float((laplace.log_prob - elbo).mean()),
        "log_prob_paper": float(paper.log_prob.mean()),
        "sample_size_paper": float(paper.sample_size.median()),
        "annealed": float(annealed.log_prob.mean()),
        "annealed_error": sampling_error(annealed),
        "log_prob_same_images": float(laplace.log_prob[: len(subset)].mean()),
    }
    return {name: round(value, 4) for name, value in numbers.items()} | {"n_test": len(test), "n_draws": n}


def sampling_error(result: Estimate) -> float:
    """Return the standard error of the mean of ln p(x) that comes from the draws, not from the images."""
    return float(result.standard_error.square().mean().sqrt() / len(result.standard_error) ** 0.5)


def seconds_per_update(records: Sequence[dict[str, float]]) -> float:
    """Return the median over the intervals between validations, in seconds of the processor."""
    starts = [0.0, *(record["n_updates"] for record in records)]
    intervals = zip(records, starts, strict=False)
    return statistics.median(record["seconds"] / (record["n_updates"] - start) for record, start in intervals)


def _annealed(model: Autoencoder, x: th.Tensor, n_temperatures: int) -> Estimate:
    return annealed_estimate(lambda z: model.log_joint(x, z), fit_laplace(model, x), 16, n_temperatures)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds by architecture and method, and differences to the Gaussian posterior."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["architecture"], row["method"]), []).append(row)
    names = ("log_prob", "standard_error", "sample_size", "elbo", "gap", "annealed", "ms_per_update")
    table: list[Row] = []
    for (architecture, method), of_method in groups.items():
        means = {name: statistics.fmean(float(row[name]) for row in of_method) for name in names}
        gaussian = groups.get((architecture, "gaussian"), [])
        reference = statistics.fmean(float(row["log_prob"]) for row in gaussian) if gaussian else float("nan")
        line: dict[str, Any] = {"architecture": architecture, "method": METHODS[method]}
        table.append(line | {"log_prob": means["log_prob"], "better": means["log_prob"] - reference} | means)
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw a row per autoencoder, of the first seed: samples, reconstructions and a latent walk."""
    from matplotlib.figure import Figure as Plot

    first = [result for result in results if result.settings["seed"] == results[0].settings["seed"]]
    plot = Plot(figsize=(11, 1.75 * len(first)), layout="constrained")
    axes = plot.subplots(len(first), len(PARTS), squeeze=False)
    for row, result in zip(axes, first, strict=True):
        tiles = th.load(result.folder / _IMAGES, weights_only=True)
        for axis, name in zip(row, PARTS, strict=True):
            axis.imshow(1 - tiled(tiles[name]).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set_visible(False)
        method = METHODS[result.settings["method"]].replace(", ", ",\n")
        row[0].set_ylabel(f"{result.settings['architecture']}\n{method}", fontsize=8)
    for axis, name in zip(axes[0], PARTS, strict=True):
        axis.set_title(name, fontsize=10)
    plot.savefig(path, dpi=130)
