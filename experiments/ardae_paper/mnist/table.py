"""Code shared by the tables of dynamically and statically binarized MNIST: a run, its row and the drawing."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from experiments.ardae_paper.mnist.methods import METHODS, Trainee, make_trainee
from experiments.ardae_paper.mnist.training import best_record, train
from experiments.figure import Result

KEY = ("architecture", "method", "seed", "n_updates", "pixels")
SUMMARY_KEY = ("architecture", "method", "n_updates", "pixels")
_CURVE, _IMAGES, _MODEL, _VALUES = "validation.csv", "images.pt", "model.pt", "values.pt"


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train an autoencoder, evaluate it on test images, and return its row of the table.

    With "with_validation_images", this training only finds the best number of updates. A second one makes that many,
    from the same initial weights, on training and validation images together.
    """
    split = generated_split()
    if not settings["generated"]:
        split = load_split(Path(settings["data"]), settings["binarization"])
    split = Split(*(images.to(settings["device"]) for images in split))
    trainee = _make(settings)
    records = train(trainee, settings, split, run)
    best_at = int(best_record(records)["n_updates"])
    write_csv(run.folder / _CURVE, records)
    if settings["with_validation_images"]:
        split = split._replace(train=th.cat([split.train, split.valid]))
        trainee = _make(settings)
        again = settings | {"n_updates": best_at, "patience": 0}
        records = train(trainee, again, split, run, select=False, checkpoint="with_validation_images")
    model = trainee.model
    th.save(model.state_dict(), run.folder / _MODEL)
    th.manual_seed(settings["seed"])
    th.save({name: tiles.cpu() for name, tiles in draw_images(model, split.test).items()}, run.folder / _IMAGES)
    values = evaluate(model, trainee.bound, split, settings)
    th.save(values, run.folder / _VALUES)
    numbers = columns(values, trainee.bound.kind)
    numbers |= {"n_test": len(values["log_prob"]), "n_draws": settings["n_draws"]}
    numbers["ms_per_update"] = round(1e3 * seconds_per_update(records), 2)
    numbers["best_at"] = best_at
    return [{key: settings[key] for key in KEY} | numbers | {"values": str(run.folder / _VALUES)}]


def _make(settings: dict[str, Any]) -> Trainee:
    th.manual_seed(settings["seed"])
    trainee = make_trainee(settings["architecture"], settings["method"], settings["networks"], settings["entropy"])
    trainee.model.to(settings["device"]), trainee.bound.to(settings["device"])
    return trainee


def evaluate(model: Autoencoder, bound: Bound, split: Split, settings: dict[str, Any]) -> dict[str, th.Tensor]:
    """Return estimates for each test image, (n_test,) on the CPU; annealed ones for the first images only."""
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
    values = {
        "log_prob": laplace.log_prob,
        "standard_error": laplace.standard_error,  # by the draws
        "sample_size": laplace.sample_size,
        "elbo": elbo,
        "log_prob_paper": paper.log_prob,
        "sample_size_paper": paper.sample_size,
        "annealed": annealed.log_prob,
        "annealed_error": annealed.standard_error,
    }
    return {name: value.cpu() for name, value in values.items()}


def columns(values: dict[str, th.Tensor], elbo_kind: str) -> dict[str, Any]:
    """Return columns of the table: means over test images, and their effective sample sizes.

    :param values: Estimates for each image, of :func:`evaluate`.
    :param elbo_kind: "exact", "auxiliary" or "estimated". Only an exact bound has a gap to ln p(x).
    """
    log_prob, sample_size, annealed = values["log_prob"], values["sample_size"], values["annealed"]
    numbers = {
        "log_prob": log_prob.mean(),
        "standard_error": log_prob.std() / len(log_prob) ** 0.5,
        "sampling_error": sampling_error(values["standard_error"]),
        "sample_size": sample_size.median(),
        "smallest_sample_size": sample_size.min(),
        "share_below_10": (sample_size < 10).float().mean(),
        "elbo": values["elbo"].mean(),
        "log_prob_paper": values["log_prob_paper"].mean(),
        "sample_size_paper": values["sample_size_paper"].median(),
        "annealed": annealed.mean(),
        "annealed_error": sampling_error(values["annealed_error"]),
        "log_prob_same_images": log_prob[: len(annealed)].mean(),
    }
    gap = round(float((log_prob - values["elbo"]).mean()), 4) if elbo_kind == "exact" else ""
    return {name: round(float(value), 4) for name, value in numbers.items()} | {"elbo_kind": elbo_kind, "gap": gap}


def sampling_error(standard_errors: th.Tensor) -> th.Tensor:
    """Return the standard error of a mean over images due to the draws, not to the choice of images."""
    return standard_errors.square().mean().sqrt() / len(standard_errors) ** 0.5


def seconds_per_update(records: Sequence[dict[str, float]]) -> float:
    """Return the median over the intervals between validations, in seconds of CPU time (on a GPU, of wall time).

    After an interruption, an interval's time covers only the updates since then.
    """
    return statistics.median(record["seconds"] / record["timed_updates"] for record in records)


def _annealed(model: Autoencoder, x: th.Tensor, n_temperatures: int) -> Estimate:
    return annealed_estimate(lambda z: model.log_joint(x, z), fit_laplace(model, x), 16, n_temperatures)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds by architecture and method, and differences to the Gaussian posterior."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["architecture"], row["method"]), []).append(row)
    table: list[Row] = []
    for (architecture, method), of_method in groups.items():

        def mean(name: str, rows: Sequence[dict[str, str]] = of_method) -> float:
            return statistics.fmean(float(row[name]) for row in rows)

        table.append(
            {"architecture": architecture, "method": METHODS[method]}
            | {name: of_method[0][name] for name in ("n_updates", "pixels")}
            | {"n_seeds": len(of_method), "log_prob": mean("log_prob")}
            | difference(of_method, groups.get((architecture, "gaussian"), []))._asdict()
            | {name: mean(name) for name in ("standard_error", "sample_size")}
            | {"smallest_sample_size": min(float(row["smallest_sample_size"]) for row in of_method)}
            | {name: mean(name) for name in ("share_below_10", "elbo")}
            | {"elbo_kind": of_method[0]["elbo_kind"], "gap": mean("gap") if of_method[0]["gap"] else ""}
            | {"ms_per_update": mean("ms_per_update")}
        )
    return table


class Difference(NamedTuple):
    """A mean difference of ln p(x) between two methods, with standard errors."""

    better: float
    better_error: float  # over images: the means over seeds are compared image by image
    seed_error: float  # of the mean over seeds, nan for a single one


def difference(rows: Sequence[dict[str, str]], references: Sequence[dict[str, str]]) -> Difference:
    """Return how much better a method is than a reference with the same seeds on the same test images.

    :param rows: The method's rows, a row per seed, whose column "values" names the file of the values by image.
    :param references: The reference's rows. Without a common seed, the difference is nan.
    """
    by_seed = {row["seed"]: _log_prob(row) for row in references}
    pairs = [_log_prob(row) - by_seed[row["seed"]] for row in rows if row["seed"] in by_seed]
    if not pairs:
        return Difference(math.nan, math.nan, math.nan)
    differences = th.stack(pairs)  # (n_seeds, n_test)
    by_image, of_seeds = differences.mean(0), differences.mean(1)
    seed_error = float(of_seeds.std()) / len(pairs) ** 0.5 if len(pairs) > 1 else math.nan
    return Difference(float(by_image.mean()), float(by_image.std()) / len(by_image) ** 0.5, seed_error)


def _log_prob(row: dict[str, str]) -> th.Tensor:
    values: th.Tensor = th.load(row["values"], weights_only=True)["log_prob"]
    return values


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
    plot.savefig(path, dpi=100)
