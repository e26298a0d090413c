"""MNIST with pixels redrawn in each epoch: five posteriors in three architectures (Lim et al. 2020, Section 6.2).

The table has the test ln p(x) by importance sampling from the Laplace approximation of p(z|x), the paper's estimate,
the evidence lower bound and annealed importance sampling. The sixth method is the implicit posterior with the paper's
estimator.
"""

from pathlib import Path
from typing import Any

from ardae_rl.common.checks import check_choice
from experiments.ardae_paper.mnist.budgets import run_settings
from experiments.ardae_paper.mnist.data import check_files
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
    architectures: tuple[str, ...] = ("mlp",),
    methods: tuple[str, ...] = tuple(METHODS),
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Return the settings by architecture, method and seed.

    :raises FileNotFoundError: If a file of MNIST is missing.
    """
    for name, values, known in (("architectures", architectures, ARCHITECTURES), ("methods", methods, METHODS)):
        for value in values:
            check_choice(name, value, tuple(known))
    if budget != "smoke":
        check_files(Path(data), "dynamic")
    common = {"binarization": "dynamic", "pixels": "seed", "with_validation_images": False}
    return [
        run_settings(budget, architecture, method, seed) | common | {"data": data, "device": device}
        for architecture in architectures
        for seed in range(n_seeds)
        for method in methods
    ]


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=KEY, summary_key=SUMMARY_KEY)
