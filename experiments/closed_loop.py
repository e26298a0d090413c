"""Policy and score estimator without a critic, on one-step tasks whose optimal policy is known.

The reward is the log-density of a target policy and the temperature is one, so the target is the optimum. Failures of
the loop between policy and estimator (divergence into saturation, collapse, lost modes) show here without other causes.
All settings are SACARDAE's defaults. The table has a row per check.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

from ardae_rl import SACARDAE
from ardae_rl.common.training import MetricMeans
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result

RADIUS = 0.4
# Neighboring modes are 4.7 standard deviations apart
MODE_STD = RADIUS * math.sqrt(3) / 4.7
N_MODES = {"one mode": 1, "three modes": 3}
LIMITS = {"one mode": 0.08, "three modes": 0.20}  # on the total variation
SEEDS = {"smoke": 1, "quick": 3}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"updates": 2, "check_every": 1, "samples": 2000, "arguments": {"batch_size": 8, "score_warmup": 1}},
    "quick": {"updates": 20_000, "check_every": 1000, "samples": 100_000, "arguments": {}},
}


class OneStepEnv(gym.Env[np.ndarray, np.ndarray]):
    """Declare the spaces: states are points on the unit circle, actions lie in the square [-1, 1]²."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (2,))


class KnownReward(SACARDAE):
    """SACARDAE whose critic is the log-density of Gaussian modes on a circle, which the state rotates."""

    def __init__(self, *args: Any, n_modes: int = 1, **kwargs: Any):
        self.n_modes = n_modes
        super().__init__(*args, **kwargs)

    def mode_means(self, states: th.Tensor) -> th.Tensor:
        """Return the centers of the modes, (batch, n_modes, 2), for states of shape (batch, 2)."""
        angles = th.atan2(states[:, 1], states[:, 0]).unsqueeze(1)
        angles = angles + 2 * math.pi * th.arange(self.n_modes) / self.n_modes
        return RADIUS * th.stack([angles.cos(), angles.sin()], dim=-1)

    def action_value(self, observations: Any, actions: th.Tensor) -> th.Tensor:
        residual = actions.unsqueeze(1) - self.mode_means(observations)
        log_modes = -0.5 * (residual / MODE_STD).square().sum(-1) - 2 * math.log(MODE_STD * math.sqrt(2 * math.pi))
        return log_modes.logsumexp(1, keepdim=True) - math.log(self.n_modes)

    def updates(self, n_updates: int, check_every: int) -> Iterator[dict[str, float]]:
        """Train, and yield the means of the metrics every ``check_every`` updates of the policy."""
        means = MetricMeans()
        for update in range(n_updates):
            states = self.policy.encode_states(random_states(self.batch_size))
            warmup = self.score_warmup if update == 0 else 0
            means.add(self.update_score(states, warmup + self.n_score_updates))
            metrics, _ = self.update_actor(states, th.tensor(float(update)))
            means.add(metrics)
            if (update + 1) % check_every == 0:
                yield means.finite(after=f"{update + 1} updates")
                means = MetricMeans()


def random_states(n: int) -> th.Tensor:
    """Return n points on the unit circle, (n, 2)."""
    angles = 2 * math.pi * th.rand(n)
    return th.stack([angles.cos(), angles.sin()], dim=1)


@th.no_grad()
def compare_to_optimum(model: KnownReward, n_states: int = 8, n_samples: int = 100_000) -> dict[str, float]:
    """Compare the policy to the optimum: total variation, standard deviation, masses of the modes, saturation.

    The total variation is measured on a grid of cells half a standard deviation wide.
    """
    angles = 2 * math.pi * th.arange(n_states) / n_states
    states = th.stack([angles.cos(), angles.sin()], dim=1)
    n_cells = 2 * math.ceil(2 / MODE_STD)
    edges = th.linspace(-1, 1, n_cells + 1)
    rows = []
    for state, means in zip(states.unsqueeze(1), model.mode_means(states), strict=True):
        embedding = model.actor.encode(state)
        actions = th.tanh(model.actor.generate(embedding, model.actor.sample_noise(embedding, n_samples)))[0]
        exact = means[th.randint(model.n_modes, (n_samples,))] + MODE_STD * th.randn(n_samples, 2)
        cdf = th.special.ndtr((edges - means.unsqueeze(-1)) / MODE_STD).diff(dim=-1)  # modes x 2 x cells
        masses = (cdf[:, 0].unsqueeze(2) * cdf[:, 1].unsqueeze(1)).mean(0)
        nearest = (actions.unsqueeze(1) - means).square().sum(-1).argmin(1)
        shares = th.bincount(nearest, minlength=model.n_modes) / n_samples
        spread = (actions - means[nearest]).square().mean().sqrt()
        log_prob = model.policy.log_prob(state.expand(2000, -1), actions[:2000])
        error = log_prob - model.action_value(state.expand(2000, -1), actions[:2000]).squeeze(1)
        rows.append(
            {
                "total_variation": _total_variation(actions, masses, edges),
                "sampling_floor": _total_variation(exact, masses, edges),
                "std_ratio": float(spread) / MODE_STD,
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


def _total_variation(actions: th.Tensor, masses: th.Tensor, edges: th.Tensor) -> float:
    n_cells = len(edges) - 1
    cells = ((actions + 1) / 2 * n_cells).long().clamp(0, n_cells - 1)
    counts = th.bincount(cells[:, 0] * n_cells + cells[:, 1], minlength=n_cells**2).view(n_cells, n_cells)
    return 0.5 * float((counts / len(actions) - masses).abs().sum() + (1 - masses.sum()))


def make_model(task: str, seed: int, **kwargs: Any) -> KnownReward:
    """Return a model with SACARDAE's defaults, except for the temperature, which the task fixes."""
    return KnownReward(
        "MlpPolicy", OneStepEnv(), n_modes=N_MODES[task], ent_coef=1.0, seed=seed, buffer_size=1, device="cpu", **kwargs
    )


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [
        {"name": f"{task} seed{seed}", "task": task, "seed": seed} | BUDGETS[budget]
        for seed in range(n_seeds)
        for task in N_MODES
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train once, and return a row per check."""
    model = make_model(settings["task"], settings["seed"], **settings["arguments"])
    every = settings["check_every"]
    start = time.process_time()
    rows: list[Row] = []
    for check, metrics in enumerate(model.updates(settings["updates"], every), start=1):
        row = {"task": settings["task"], "seed": settings["seed"], "update": check * every}
        comparison = compare_to_optimum(model, n_samples=settings["samples"])
        row |= {name: round(value, 4) for name, value in comparison.items()}
        rows.append(
            row | {"entropy": round(metrics["entropy"], 4), "cpu_seconds": round(time.process_time() - start, 1)}
        )
        run.report(check * every, settings["updates"])
    return rows


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return the last check of each run."""
    shown = ("task", "seed", "update", "total_variation", "std_ratio", "smallest_mode", "largest_mode", "saturated")
    last = {(row["task"], row["seed"]): row for row in rows}
    return [{name: row[name] for name in shown} for row in last.values()]


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the total variation and the masses of the modes during training, one line per seed."""
    from matplotlib.figure import Figure as Plot

    rows = [row for result in results for row in result.rows]
    figure = Plot(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    curves: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        curve = curves.setdefault((row["task"], row["seed"]), {})
        for name in ("update", "total_variation", "smallest_mode", "largest_mode"):
            curve.setdefault(name, []).append(float(row[name]))
    for axis, task in zip(axes, N_MODES, strict=False):
        axis.set(title=f"{task}: total variation to the optimum", xlabel="policy updates", ylim=(0, 0.5))
        axis.axhline(LIMITS[task], color="grey", linestyle="--", linewidth=1)
    axes[2].set(title="three modes: smallest to largest mass", xlabel="policy updates", ylim=(0, 1))
    axes[2].axhline(1 / 3, color="grey", linestyle="--", linewidth=1)
    for (task, seed), curve in curves.items():
        axes[list(N_MODES).index(task)].plot(curve["update"], curve["total_variation"], label=f"seed {seed}")
        if task == "three modes":
            axes[2].fill_between(
                curve["update"], curve["smallest_mode"], curve["largest_mode"], alpha=0.3, label=f"seed {seed}"
            )
    for axis in axes:
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=("task", "seed", "update"))
