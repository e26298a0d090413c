"""The report of a benchmark: tables in the form of Lim et al. (2020), aggregates over environments, curves."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ardae_rl.common.optional import require
from ardae_rl.grid.comparison import improvement_table, interquartile_table, paired_table
from ardae_rl.grid.curves import Array, Curve, check_same_steps, names, normalized_scores, read_curves
from ardae_rl.grid.figures import draw_curves, draw_profiles
from ardae_rl.grid.grid import failed_runs
from ardae_rl.grid.protocol import check_same_evaluations, differences, read_protocols
from ardae_rl.grid.statistics import MIN_SEEDS, enough_seeds, interquartile_mean, stratified_interval, verdict

_BASELINE = "sac"
_TEST = "Permutation tests at the 5 % level, which reassign the runs of each environment to the two algorithms:"


def report(out: Path, beside: Mapping[str, Path] | None = None, steps: int | None = None) -> Path:
    """Write ``report.md``, ``learning_curves.png`` and ``profiles.png`` into the folder of the runs.

    :param out: Folder of the runs.
    :param beside: Folders of other benchmarks, such as one of an earlier version, by the label that the names of their
        algorithms get: "before" gives "sac (before)".
    :param steps: Environment steps after which all curves are cut off, to compare runs of different lengths. None
        keeps them whole.
    :return: Path of the report.
    :raises ValueError: If a folder has no finished runs, or the runs of an environment were evaluated at different
        steps, or with different numbers of episodes.
    :raises ImportError: If matplotlib or scipy is not installed.
    """
    require("matplotlib", "plots")
    require("scipy", "plots")
    folders = {"": out} | {f" ({label})": folder for label, folder in (beside or {}).items()}
    curves = [
        curve._replace(algo=curve.algo + suffix)
        for suffix, folder in folders.items()
        for curve in read_curves(folder, steps)
    ]
    protocols = read_protocols(folders)
    check_same_steps(curves)
    check_same_evaluations(protocols)
    draw_curves(curves, out / "learning_curves.png")
    scores = normalized_scores(curves)
    draw_profiles(scores, out / "profiles.png")
    parts = ["# Benchmark", _overview(curves, [*differences(protocols), *_failures(out)])]
    for title, summary in SUMMARIES.items():
        parts += [f"## {title}", _table(curves, summary)]
    parts += ["## All environments", _aggregates(scores), _comparisons(scores)]
    parts += ["![Performance profiles](profiles.png)"]
    if len(scores) > 1:
        parts += ["## All pairs of algorithms", *_all_pairs(curves)]
    parts += ["## Learning curves", "![Learning curves](learning_curves.png)"]
    parts += ["## Logged quantities", _logged(curves)]
    path = out / "report.md"
    path.write_text("\n\n".join(parts) + "\n")
    return path


def at_half(curve: Curve) -> float:
    """Return the last evaluation within the first half of the steps; the first one, if that is later."""
    index = np.searchsorted(curve.steps, curve.steps[-1] / 2, side="right") - 1
    return float(curve.returns[max(index, 0)])


def final_return(curve: Curve) -> float:
    """Return the last evaluation's return."""
    return float(curve.returns[-1])


def mean_return(curve: Curve) -> float:
    """Return the mean of all evaluations' returns."""
    return float(curve.returns.mean())


SUMMARIES: dict[str, Callable[[Curve], float]] = {
    "Final return": final_return,
    "Maximum return (the paper's Tables 1 and 3)": lambda curve: float(curve.returns.max()),
    "Mean return over training (the paper's Table 4)": mean_return,
    "Return at half of the steps": at_half,
    "Training minutes": lambda curve: float(curve.wall_seconds[-1]) / 60,
    "Minutes of processor time": lambda curve: float(curve.cpu_seconds[-1]) / 60,
}


def _overview(curves: Sequence[Curve], remarks: Sequence[str]) -> str:
    lines = ["Evaluations act deterministically on the unmodified environment. Mean ± standard deviation over seeds."]
    for env in names(curves)[0]:
        runs = [c for c in curves if c.env == env]
        seeds = ", ".join(f"{a} {sum(c.algo == a for c in runs)}" for a in names(runs)[1])
        lines.append(f"- {env}, {runs[0].steps[-1]:,.0f} steps, {len(runs[0].steps)} evaluations; seeds: {seeds}")
    lines += [f"- {remark}" for remark in remarks]
    return "\n".join([lines[0], "", *lines[1:]])


def _failures(out: Path) -> list[str]:
    return [f"failed: {run['name']}: {reason}" for run, reason in failed_runs(out)]


def _table(curves: Sequence[Curve], summary: Callable[[Curve], float]) -> str:
    envs, algos = names(curves)
    rows = [["algorithm", *envs]]
    for algo in algos:
        cells = []
        for env in envs:
            values = [summary(c) for c in curves if (c.env, c.algo) == (env, algo)]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}" if values else "")
        rows.append([algo, *cells])
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _aggregates(scores: dict[str, dict[str, Array]]) -> str:
    rows = [["algorithm", "environments", "runs", "interquartile mean", "95 % interval"]]
    for algo, by_env in scores.items():
        values = np.concatenate(list(by_env.values()))
        interval = ""
        if enough_seeds(list(by_env.values())):
            low, high = stratified_interval(list(by_env.values()))
            interval = f"{low:.3f} to {high:.3f}"
        rows.append([algo, str(len(by_env)), str(len(values)), f"{interquartile_mean(values):.3f}", interval])
    text = "Final returns, scaled in each environment from the worst evaluation of any run (0) to the best (1); "
    text += f"intervals by stratified bootstrap over seeds, if each environment has at least {MIN_SEEDS}."
    return f"{text}\n\n{_markdown(rows)}"


def _comparisons(scores: dict[str, dict[str, Array]]) -> str:
    """Return sentences that compare final returns with SAC's, and with those of SAC with the same critics."""
    sentences = []
    for algo in scores:
        critic = algo.rpartition("-")[2]
        for baseline in (_BASELINE, f"{_BASELINE}-{critic}"):
            envs = [env for env in scores[algo] if env in scores.get(baseline, {})]
            if envs and algo != baseline:
                ours, theirs = ([scores[name][env] for env in envs] for name in (algo, baseline))
                sentences.append("- " + verdict(algo, baseline, ours, theirs))
    return "\n".join([_TEST, "", *sentences]) if sentences else ""


def _all_pairs(curves: Sequence[Curve]) -> list[str]:
    enough = f"if there are at least {MIN_SEEDS} seeds"
    parts = []
    for name, summary in {"final return": final_return, "mean return over training": mean_return}.items():
        parts += [
            f"Interquartile mean of the {name} over seeds, with 95 % bootstrap intervals {enough}:",
            _markdown(interquartile_table(curves, summary)),
            f"Probability that a run of the row's algorithm has a higher {name} than one of the column's, averaged "
            f"over environments, with 95 % intervals by stratified bootstrap over seeds {enough}:",
            _markdown(improvement_table(curves, summary)),
            f"Mean difference of the {name} between runs of the same seed, with 95 % intervals by Student's t:",
            _markdown(paired_table(curves, summary)),
        ]
    return parts


def _logged(curves: Sequence[Curve]) -> str:
    """Return a table of means over the last segment and the seeds; quantities that an algorithm lacks are blank."""
    columns = sorted({name for c in curves for name in c.metrics} - {"step", "learning_rate"})
    rows = [["environment", "algorithm", *columns]]
    for env in names(curves)[0]:
        for algo in names(curves)[1]:
            logged = [c.metrics for c in curves if (c.env, c.algo) == (env, algo)]
            if logged:
                values = [[float(m[name]) for m in logged if m.get(name)] for name in columns]
                rows.append([env, algo, *(f"{np.mean(v):.4g}" if v else "" for v in values)])
    return _markdown(rows)
