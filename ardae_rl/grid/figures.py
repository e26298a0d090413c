"""Figures of a benchmark: learning curves by steps and by processor time, performance profiles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ardae_rl.grid.curves import Array, Curve, names

_WINDOW, _ORDER = 7, 2  # Savitzky-Golay filter, as in the paper
_COLORS = ("#23629f", "#c0562b", "#4c8c4a", "#8a5aa8", "#b08a1e", "#5b5b5b", "#c2407a", "#2f9c95", "#7a4a2b")


def smoothed(values: Array) -> Array:
    """Smooth a curve by a Savitzky-Golay filter of order 2 and window 7; shorter curves are returned unchanged."""
    from scipy.signal import savgol_filter

    if len(values) < _WINDOW:
        return values
    filtered: Array = savgol_filter(values, _WINDOW, _ORDER)
    return filtered


def draw_curves(curves: Sequence[Curve], path: Path) -> None:
    """Draw one column per environment: the return by steps above, by processor time below.

    Thin lines are runs, thick ones their means.
    """
    from matplotlib.figure import Figure

    envs, algos = names(curves)
    figure = Figure(figsize=(max(4.2 * len(envs), 6), 6.6), layout="constrained")
    panels = figure.subplots(2, len(envs), squeeze=False)
    for column, env in enumerate(envs):
        for algo, color in zip(algos, _COLORS * len(algos), strict=False):
            runs = [c for c in curves if (c.env, c.algo) == (env, algo)]
            if not runs:
                continue
            n = min(len(c.steps) for c in runs)
            returns = np.array([c.returns[:n] for c in runs])
            minutes = np.mean([c.cpu_seconds[:n] for c in runs], axis=0) / 60
            mean, label = smoothed(returns.mean(0)), f"{algo} ({len(runs)})"
            for axes, x in ((panels[0, column], runs[0].steps[:n]), (panels[1, column], minutes)):
                axes.plot(x, returns.T, color=color, linewidth=0.6, alpha=0.4)
                axes.plot(x, mean, color=color, linewidth=2, label=label)
        panels[0, column].set(title=env, xlabel="environment steps")
        panels[1, column].set(xlabel="minutes of processor time")
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.ticklabel_format(axis="x", style="plain")
    for row in panels:
        row[0].set_ylabel("return (deterministic)")
    panels[0, 0].legend(frameon=False, fontsize=8, title="(seeds)", title_fontsize=8)
    figure.savefig(path, dpi=110)


def draw_profiles(scores: dict[str, dict[str, Array]], path: Path) -> None:
    """Draw the fraction of runs above a score, by score (Agarwal et al. 2021)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    thresholds = np.linspace(0, 1, 201)
    for (algo, by_env), color in zip(sorted(scores.items()), _COLORS * len(scores), strict=False):
        above = [(values > thresholds[:, None]).mean(1) for values in by_env.values()]
        axes.step(thresholds, np.mean(above, axis=0), color=color, label=algo, where="post")
    axes.set(xlabel="normalized final return τ", ylabel="fraction of runs above τ", ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
