"""Accuracy of the score estimator on conditional targets whose score and density are known.

    python -m experiments.estimator --seeds 3 --updates 2500 --jobs 2

The targets are those of `tests.oracles.targets`; they turn while the estimator trains, and it is judged by the target
as it is after the last update, at fresh contexts and samples:
the score error is E|f - ∇ln p|² / E|∇ln p|², and the density's bias and error are the mean and the mean absolute
value of the estimated less the true ln p, in nats.

`paper` is the form of Lim et al. (2020), with at least as many network evaluations an update as the default (through
the number of noise draws). `paper_centred` is given the true location to subtract, as the paper subtracts the centre
of its sampler; no other estimator is.

Each run has a folder under runs/estimator and is skipped if it is there with the same settings; after a change of the
estimator itself, delete them.
Written: results/estimator.csv (a row per run) and estimator.png (means over seeds).
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, read_csv, versions
from ardae_rl.score import ARDAE
from experiments import common
from tests.oracles.targets import CONTEXT_DIM, Target

BATCH, SAMPLES = 32, 16  # of one update
TEST_CONTEXTS, TEST_SAMPLES = 512, 16
PAPER: dict[str, Any] = {
    "preconditioned": False,
    "loss": "ardae",
    "normalization": "importance",
    "normalization_kwargs": {"proposal_scale": math.exp(-1)},  # of the published code, in units of x
    "network_kwargs": {"activation": "elu", "context_gain": False},
    "betas": (0.9, 0.999),
    "averaging": 1,
    # As many network evaluations as the default: noisy samples, clean samples, reference draws
    "noise_kwargs": {"n_samples": 3},
}
ESTIMATORS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": PAPER,
    "paper_centred": PAPER,
    "dual": {"normalization": "dual"},
    "importance": {"normalization": "importance"},
    "immse": {"normalization": "immse"},
}
MODES = (1, 3, 4)
DIMS = (2, 5, 6)
KEY = ("estimator", "dim", "modes", "seed", "updates")


def measure(name: str, target: Target, seed: int, updates: int) -> dict[str, Any]:
    """Train one estimator on one target; its errors after the last update, as CSV columns."""
    th.manual_seed(seed)
    generator = th.Generator().manual_seed(100 + seed)
    estimator = ARDAE(target.dim, CONTEXT_DIM, **ESTIMATORS[name])
    calls = count_rows(estimator)
    begin = time.process_time()
    for update in range(updates):
        context = target.contexts(BATCH, generator)
        samples = target.sample(context, SAMPLES, update, generator)
        estimator.update(samples - centre(name, target, context), context)
    seconds = time.process_time() - begin
    n_calls = calls[0] / (updates * BATCH * SAMPLES)

    context = target.contexts(TEST_CONTEXTS, generator)
    x = target.sample(context, TEST_SAMPLES, updates, generator)
    log_prob, score = target.log_prob_and_score(x, context, updates)
    x = x - centre(name, target, context)
    score_error = (estimator.score(x, context) - score).square().sum() / score.square().sum()
    error = estimator.log_prob(x, context) - log_prob
    return {
        "score_error": f"{score_error:.5g}",
        "log_prob_bias": f"{error.mean():.4g}",
        "log_prob_error": f"{error.abs().mean():.4g}",
        "calls_per_sample": round(n_calls, 2),
        "train_seconds": round(seconds, 1),
    }


def centre(name: str, target: Target, context: th.Tensor) -> th.Tensor:
    """What is subtracted from samples and queries: zero except for `paper_centred`."""
    location, _ = target.location_scale(context)
    return location if name == "paper_centred" else th.zeros_like(location)


def count_rows(estimator: ARDAE) -> list[int]:
    """A counter, in a list of one number, of the points at which the network has been evaluated."""
    rows = [0]

    def count(_module: th.nn.Module, _inputs: Any, output: th.Tensor) -> None:
        rows[0] += output.shape[:-1].numel()

    estimator.model.network.joining_layer.register_forward_hook(count)
    return rows


def run_folder(settings: dict[str, Any]) -> Path:
    return common.RUNS / "estimator" / "_".join(str(settings[k]) for k in KEY)


def run(settings: dict[str, Any], run: Run) -> str:
    """One run: leaves row.json in its folder."""
    name, seed = settings["estimator"], settings["seed"]
    row = measure(name, Target(settings["dim"], settings["modes"], seed), seed, settings["updates"])
    key = {k: settings[k] for k in KEY}
    (run.folder / "row.json").write_text(json.dumps(key | row | versions()) + "\n")
    return ", ".join(f"{k} {v}" for k, v in (key | row).items())


def summarise(rows: Sequence[dict[str, str]], estimator: str, dim: int, modes: int, column: str) -> float:
    """Mean over seeds; nan without rows."""
    chosen = [row for row in rows if (row["estimator"], row["dim"], row["modes"]) == (estimator, str(dim), str(modes))]
    return float(np.mean([float(row[column]) for row in chosen])) if chosen else math.nan


def print_table(rows: Sequence[dict[str, str]]) -> None:
    """Means over seeds: score error; density's bias / absolute error."""
    names = [name for name in ESTIMATORS if any(row["estimator"] == name for row in rows)]
    print(f"{'':14}" + "".join(f"{name:>24}" for name in names))
    for dim, modes in sorted({(int(row["dim"]), int(row["modes"])) for row in rows}):
        cells = []
        for name in names:
            score, bias, error = (
                summarise(rows, name, dim, modes, column)
                for column in ("score_error", "log_prob_bias", "log_prob_error")
            )
            cells.append(f"{f'{score:.3f}; {bias:+.2f}/{error:.2f}':>24}")
        print(f"{f'd={dim}, modes={modes}':14}" + "".join(cells))


def plot(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Bars of the score error and of the density's mean absolute error, by target and estimator."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    targets = sorted({(int(row["dim"]), int(row["modes"])) for row in rows}, key=lambda target: target[::-1])
    names = [name for name in ESTIMATORS if any(row["estimator"] == name for row in rows)]
    panels = {"score_error": "relative squared score error", "log_prob_error": "mean |error| of ln p, nats"}
    figure, axes = plt.subplots(2, 1, figsize=(9, 6.4), sharex=True, layout="constrained")
    width = 0.85 / len(names)
    for panel, (column, label) in zip(axes, panels.items(), strict=True):
        for k, name in enumerate(names):
            heights = [summarise(rows, name, dim, modes, column) for dim, modes in targets]
            panel.bar(np.arange(len(targets)) + (k - len(names) / 2 + 0.5) * width, heights, width, label=name)
        panel.set(yscale="log", ylabel=label)
        panel.grid(axis="y", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    labels = [f"{modes} mode{'s' * (modes > 1)}\nd = {dim}" for dim, modes in targets]
    axes[1].set_xticks(range(len(targets)), labels)
    axes[0].legend(frameon=False, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=150)
    plt.close(figure)


def names_of(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in ESTIMATORS:
            raise argparse.ArgumentTypeError(f"{name!r}: accepted are {', '.join(ESTIMATORS)}, separated by commas")
    return names


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--updates", type=int, default=2500)
    parser.add_argument("--estimators", type=names_of, default=list(ESTIMATORS))
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    parser.add_argument("--modes", type=int, nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=common.RESULTS)
    options = parser.parse_args(argv)

    runs = [
        {"estimator": name, "dim": dim, "modes": modes, "seed": seed, "updates": options.updates}
        | {"arguments": ESTIMATORS[name]}
        for seed in range(options.seeds)
        for name in options.estimators
        for dim in options.dims
        for modes in options.modes
    ]
    done = run_missing(run, run_folder, runs, processes(options.jobs))

    if done:
        table = options.out / "estimator.csv"
        merge_csv(table, [json.loads((run_folder(settings) / "row.json").read_text()) for settings in done], KEY)
        rows = [row for row in read_csv(table) if row["updates"] == str(options.updates)]
        print_table(rows)
        plot(rows, table.with_suffix(".png"))
        print(f"written: {table}, {table.with_suffix('.png')}")
    if len(done) < len(runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
