"""Policy and score estimator without a critic, on one-step tasks whose optimal policy is known.

The reward is the log-density of a target policy and the temperature is one, so the target is the optimum. Failures of
the loop between policy and estimator (divergence into saturation, collapse, lost modes, wrong entropies) can have no
other cause here. All settings are SACARDAE's defaults, except for those in ``arguments``, a mapping in YAML such as
``{policy_kwargs: {output_noise: 0.5}}``; such runs need a name of their own, ``variant``. The table has a row per
check.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.common import variant_arguments
from experiments.entropy_truth import policy_entropies, sample_pairs
from experiments.figure import Figure, Result
from experiments.known_reward import RADIUS, KnownReward, OneStepEnv, Target, circle, even_states, ring

# Neighboring modes are 4.7 standard deviations apart
MODE_STD = RADIUS * math.sqrt(3) / 4.7
_PLANE = th.full((2,), MODE_STD)
_DECADE = th.logspace(math.log10(0.03), math.log10(0.2), 6)
TARGETS = {
    "one mode": Target(1, _PLANE, circle),
    "three modes": Target(3, _PLANE, circle),
    "one mode 6d": Target(1, _DECADE, ring),
    "three modes 6d": Target(3, _DECADE, ring),
}
N_UPDATES = {2: 20_000, 6: 4000}  # by dimension
SEEDS = {"smoke": 1, "quick": 3}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"check_every": 1, "samples": 2000, "components": 100},
    "quick": {"check_every": 1000, "samples": 100_000, "components": 8192},
}
_SMOKE_ARGUMENTS = {"batch_size": 8, "score_warmup": 1}
KEY = ("task", "variant", "seed", "update")


@th.no_grad()
def compare_to_optimum(model: KnownReward, n_states: int = 8, n_samples: int = 100_000) -> dict[str, float]:
    """Compare the policy to the optimum: total variation, standard deviation, masses of the modes, saturation.

    The total variation is measured in two dimensions, on a grid of cells half a standard deviation wide.
    """
    target = model.known_target
    states = even_states(n_states)
    rows = []
    for state, means in zip(states.unsqueeze(1), target.mode_means(states), strict=True):
        actions = th.tanh(sample_actions(model, state, n_samples))
        nearest = ((actions.unsqueeze(1) - means) / target.std).square().sum(-1).argmin(1)
        shares = th.bincount(nearest, minlength=target.n_modes) / n_samples
        spread = ((actions - means[nearest]) / target.std).square().mean().sqrt()
        log_prob = model.policy.log_prob(state.expand(2000, -1), actions[:2000])
        error = log_prob - model.action_value(state.expand(2000, -1), actions[:2000]).squeeze(1)
        rows.append(
            _total_variations(target, means, actions)
            | {
                "std_ratio": float(spread),
                "smallest_mode": float(shares.min()),
                "largest_mode": float(shares.max()),
                "saturated": float((actions.abs() > 0.99).float().mean()),
                "log_prob_minus_optimum": float(error.mean()),
            }
        )
    result = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    result["smallest_mode"] = min(row["smallest_mode"] for row in rows)
    result["largest_mode"] = max(row["largest_mode"] for row in rows)
    return result


def sample_actions(model: KnownReward, state: th.Tensor, n_samples: int) -> th.Tensor:
    """Return actions before tanh at a state (1, 2), (n_samples, dim)."""
    return sample_pairs(model, model.actor.encode(state), n_samples, n_samples)[0]


def _total_variations(target: Target, means: th.Tensor, actions: th.Tensor) -> dict[str, float]:
    """Return the total variation of actions from the target, and that of equally many samples of the target itself."""
    if actions.shape[1] != 2:
        return {"total_variation": math.nan, "sampling_floor": math.nan}
    edges = th.linspace(-1, 1, 2 * math.ceil(2 / MODE_STD) + 1)
    exact = means[th.randint(target.n_modes, (len(actions),))] + target.std * th.randn_like(actions)
    cdf = th.special.ndtr((edges - means.unsqueeze(-1)) / MODE_STD).diff(dim=-1)  # (modes, 2, cells)
    masses = (cdf[:, 0].unsqueeze(2) * cdf[:, 1].unsqueeze(1)).mean(0)
    return {
        "total_variation": _total_variation(actions, masses, edges),
        "sampling_floor": _total_variation(exact, masses, edges),
    }


def _total_variation(actions: th.Tensor, masses: th.Tensor, edges: th.Tensor) -> float:
    n_cells = len(edges) - 1
    cells = ((actions + 1) / 2 * n_cells).long().clamp(0, n_cells - 1)
    counts = th.bincount(cells[:, 0] * n_cells + cells[:, 1], minlength=n_cells**2).view(n_cells, n_cells)
    return 0.5 * float((counts / len(actions) - masses).abs().sum() + (1 - masses.sum()))


@th.no_grad()
def divergence(model: KnownReward, n_components: int = 8192, n_states: int = 12) -> dict[str, float]:
    """Return KL(policy || optimum), the error of the estimated entropy, and the difference of its two references.

    The references are those of :mod:`experiments.entropy_truth`. The random numbers of training are not affected.
    """
    states = even_states(n_states)
    n = min(4096, n_components)
    with th.random.fork_rng():
        th.manual_seed(0)
        measured = policy_entropies(model, states.numpy(), n, n_components)
        values = [model.action_value(s.expand(n, -1), th.tanh(sample_actions(model, s, n))) for s in states.split(1)]
    target = model.known_target
    log_optimum = th.cat(values, dim=1).mean(0) - target.log_mass(states)
    error = measured.estimated - measured.truth
    return {
        "kl": float(-measured.truth.mean() - log_optimum.double().mean()),
        "entropy_error": float(error.mean()),
        "entropy_rms_error": float(np.sqrt(np.square(error).mean())),
        "true_entropy": float(measured.truth.mean()),
        "neighbors_minus_mixture": float((measured.neighbors - measured.middle).mean()),
        "mixture_gap": float((measured.upper - measured.lower).mean()),
    }


def make_model(task: str, seed: int, **kwargs: Any) -> KnownReward:
    """Return a model with SACARDAE's defaults, except for the temperature, which the task fixes."""
    target = TARGETS[task]
    env = OneStepEnv(len(target.std))
    return KnownReward("MlpPolicy", env, target=target, ent_coef=1.0, seed=seed, buffer_size=1, device="cpu", **kwargs)


def runs(
    budget: str,
    n_seeds: int,
    *,
    tasks: tuple[str, ...] = tuple(TARGETS),
    variant: str = "default",
    arguments: str = "{}",
    updates: int | None = None,
) -> list[dict[str, Any]]:
    for task in tasks:
        check_choice("tasks", task, TARGETS)
    given = variant_arguments(variant, arguments)
    if updates is not None:
        _check_updates(updates, BUDGETS[budget]["check_every"])
    return [
        {
            "name": f"{task} seed{seed}" if variant == "default" else f"{variant} {task} seed{seed}",
            "task": task,
            "variant": variant,
            "seed": seed,
            "updates": _n_updates(task, budget) if updates is None else updates,
            "arguments": (_SMOKE_ARGUMENTS if budget == "smoke" else {}) | given,
        }
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for task in tasks
    ]


def _check_updates(updates: int, check_every: int) -> None:
    check_count("updates", updates)
    if updates % check_every:
        raise ValueError(f"`updates` must be a multiple of {check_every}, after which there is a check, got {updates}")


def _n_updates(task: str, budget: str) -> int:
    return 2 if budget == "smoke" else N_UPDATES[len(TARGETS[task].std)]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train once, and return a row per check."""
    model = make_model(settings["task"], settings["seed"], **settings["arguments"])
    every = settings["check_every"]
    begin, spent = time.process_time(), 0.0
    rows: list[Row] = []
    for check, metrics in enumerate(model.updates(settings["updates"], every), start=1):
        spent += time.process_time() - begin
        row = {name: settings[name] for name in KEY[:-1]} | {"update": check * every}
        comparison = compare_to_optimum(model, n_samples=settings["samples"])
        comparison |= divergence(model, settings["components"])
        row |= {name: "" if math.isnan(value) else round(value, 4) for name, value in comparison.items()}
        rows.append(row | {"entropy": round(metrics["entropy"], 4), "cpu_seconds": round(spent, 1)})
        run.report(check * every, settings["updates"])
        begin = time.process_time()
    return rows


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return the last check of each run."""
    shown = (
        *KEY,
        "total_variation",
        "kl",
        "entropy_error",
        "std_ratio",
        "smallest_mode",
        "largest_mode",
        "cpu_seconds",
    )
    last = {(row["task"], row["variant"], row["seed"]): row for row in rows}
    return [{name: row[name] for name in shown} for row in last.values()]


# Columns of the plot: title, what is drawn, its bounds, and the tasks that have it
_PANELS: tuple[tuple[str, str, tuple[float, float], tuple[str, ...]], ...] = (
    ("total variation to the optimum", "total_variation", (0, 0.5), ("one mode", "three modes")),
    ("KL(policy to optimum), 6d", "kl", (0, 1), ("one mode 6d", "three modes 6d")),
    ("estimated minus true entropy", "entropy_error", (-0.1, 0.5), tuple(TARGETS)),
    ("share of the smallest mode", "smallest_mode", (0, 0.5), ("three modes", "three modes 6d")),
)


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot distances to the optimum, the error of the entropy and the smallest mode during training."""
    from matplotlib.figure import Figure as Plot

    figure = Plot(figsize=(16, 3.8), layout="constrained")
    axes = figure.subplots(1, len(_PANELS))
    for axis, (title, column, bounds, tasks) in zip(axes, _PANELS, strict=True):
        axis.set(title=title, xlabel="policy updates", ylim=bounds)
        axis.spines[["top", "right"]].set_visible(False)
        for result in results:
            task, seed = result.settings["task"], result.settings["seed"]
            if task in tasks:
                x, y = ([float(row[name]) for row in result.rows] for name in ("update", column))
                label = f"{task} ({result.settings['variant']})" if seed == 0 else None
                axis.plot(x, y, color=f"C{list(TARGETS).index(task)}", label=label)
        axis.legend(frameon=False, fontsize="small")
    axes[3].axhline(1 / 3, color="grey", linestyle="--", linewidth=1, label="optimum")
    axes[3].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=KEY)
