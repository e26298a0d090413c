"""Table and plot of Figures 3 and S2: the error of score estimates of a mixture, by noise scale."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from experiments.ardae_paper import mixture


def optimal_error(sigma: float) -> float:
    """Return E|∇ ln p - f*(x; σ)| by quadrature."""
    x = th.linspace(-6, 6, 4801, dtype=th.float64)
    components = [th.exp(-0.5 * (x - mean).square() / mixture.VARIANCE) for mean in mixture.MEANS]
    density = th.stack(components).mean(0) / (2 * th.pi * mixture.VARIANCE) ** 0.5
    difference = (mixture.score(x) - mixture.score(x, sigma)).abs()
    return float(th.trapezoid(density * difference, x))


def mean_errors(rows: Sequence[dict[str, str]], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return each method's mean error over seeds at the smallest noise scale and, where defined, without noise."""
    smallest = min(float(row["sigma"]) for row in rows if float(row["sigma"]) > 0)
    table = []
    for method in methods:
        line: dict[str, Any] = {"method": method}
        for name, sigma in {f"error at sigma {smallest:.4g}": smallest, "error at sigma 0": 0.0}.items():
            values = [float(r["error"]) for r in rows if r["method"] == method and float(r["sigma"]) == sigma]
            line[name] = sum(values) / len(values) if values else "-"
        table.append(line)
    return table


def draw_errors(rows: Sequence[dict[str, str]], methods: Sequence[str], path: Path) -> None:
    """Plot means over seeds with standard errors, on logarithmic axes.

    :param rows: Rows with the columns "method", "seed", "sigma" and "error".
    :param methods: Methods in the order of the legend.
    """
    from matplotlib.figure import Figure as Plot

    figure = Plot(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    sigmas = np.logspace(-3, 0, 61)
    axes.plot(sigmas, [optimal_error(sigma) for sigma in sigmas], "k:", label="optimal f*(x; σ)")
    for method in methods:
        points: dict[float, list[float]] = {}
        for row in rows:
            if row["method"] == method and float(row["sigma"]) > 0:
                points.setdefault(float(row["sigma"]), []).append(float(row["error"]))
        x = sorted(points)
        mean = [np.mean(points[sigma]) for sigma in x]
        spread = [np.std(points[sigma]) / max(len(points[sigma]) - 1, 1) ** 0.5 for sigma in x]
        axes.errorbar(x, mean, spread, marker="o", markersize=3.5, linewidth=1.5, capsize=2, label=method)
    axes.set(xscale="log", yscale="log", xlabel="noise scale σ", ylabel="E|∇ ln p - f|")
    axes.set_ylim(bottom=1e-3)
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(path, dpi=150)
