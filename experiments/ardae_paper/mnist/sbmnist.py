"""MNIST with fixed pixels: the implicit posterior compared with the Gaussian one (Lim et al. 2020, Section 6.2).

With the budget "paper", as in the paper, training without the validation images finds the number of updates that is
best on them; the networks are then trained from scratch on all images, with that number of updates. The quick budget
has the first training only. The pixels are those of Larochelle and Murray (2011) if the folder has their files,
otherwise they are drawn once from a seed.
"""

from pathlib import Path
from typing import Any

from ardae_rl.common.checks import check_choice
from experiments.ardae_paper.mnist.budgets import run_settings
from experiments.ardae_paper.mnist.data import check_files, pixel_source
from experiments.ardae_paper.mnist.methods import METHODS
from experiments.ardae_paper.mnist.networks import ARCHITECTURES
from experiments.ardae_paper.mnist.table import KEY, SUMMARY_KEY, draw, run, summary
from experiments.figure import Figure

SEEDS = {"smoke": 1, "quick": 2, "paper": 3}


def runs(
    budget: str,
    n_seeds: int,
    *,
    data: str = "data/mnist",
    architecture: str = "mlp",
    methods: tuple[str, ...] = ("gaussian", "ivi_ardae"),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Return the settings by method and seed.

    :raises FileNotFoundError: If a file of MNIST is missing.
    """
    check_choice("architecture", architecture, tuple(ARCHITECTURES))
    for method in methods:
        check_choice("methods", method, tuple(METHODS))
    pixels = "seed"
    if budget != "smoke":
        check_files(Path(data), "fixed")
        pixels = pixel_source(Path(data), "fixed")
    common = {"binarization": "fixed", "pixels": pixels, "with_validation_images": budget != "quick"}
    return [
        run_settings(budget, architecture, method, seed)
        | common
        | {"data": data, "device": device}
        | ({"polyak_decay": 0.998, "polyak_start": 1000} if budget == "paper" else {})
        for seed in range(n_seeds)
        for method in methods
    ]


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=KEY, summary_key=SUMMARY_KEY)
