"""The actor and the score estimator alone, without a critic, on one-step tasks whose optimal policy is known.

    python -m experiments.closed_loop --updates 20000 --seeds 3

The reward is the log density of a target policy and the temperature is one, so the target is the optimum. What can go
wrong in the loop between policy and estimator (run-away into saturation, collapse, lost modes) shows here without
anything else to blame. Everything is at SACARDAE's defaults.

Each run has a folder under runs/closed_loop and is skipped if it is there with the same settings; delete them after a
change of the algorithm. Written: results/closed_loop.csv (a row for each check) and closed_loop.png.
"""

import argparse
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
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, read_csv, versions
from experiments import common

RADIUS = 0.4
# 4.7 standard deviations between neighbouring modes
MODE_STD = RADIUS * math.sqrt(3) / 4.7
N_MODES = {"one mode": 1, "three modes": 3}
CHECK_EVERY = 1000
LIMITS = {"one mode": 0.08, "three modes": 0.20}  # of the total variation


class OneStepEnv(gym.Env[np.ndarray, np.ndarray]):
    """Declares the spaces: the state is a point on the unit circle, the action lies in the square [-1, 1]²."""

    observation_space = spaces.Box(-1, 1, (2,))
    action_space = spaces.Box(-1, 1, (2,))


class KnownReward(SACARDAE):
    """SACARDAE whose critic is the log density of Gaussian modes on a circle, turned by the state."""

    def __init__(self, *args: Any, n_modes: int = 1, **kwargs: Any):
        self.n_modes = n_modes
        super().__init__(*args, **kwargs)

    def mode_means(self, states: th.Tensor) -> th.Tensor:
        """(batch, n_modes, 2)"""
        angles = th.atan2(states[:, 1], states[:, 0]).unsqueeze(1)
        angles = angles + 2 * math.pi * th.arange(self.n_modes) / self.n_modes
        return RADIUS * th.stack([angles.cos(), angles.sin()], dim=-1)

    def action_value(self, observations: Any, actions: th.Tensor) -> th.Tensor:
        residual = actions.unsqueeze(1) - self.mode_means(observations)
        log_modes = -0.5 * (residual / MODE_STD).square().sum(-1) - 2 * math.log(MODE_STD * math.sqrt(2 * math.pi))
        return log_modes.logsumexp(1, keepdim=True) - math.log(self.n_modes)

    def updates(self, n_updates: int) -> Iterator[dict[str, float]]:
        """Train, and yield the means of the metrics every CHECK_EVERY steps of the policy."""
        means = MetricMeans()
        for update in range(n_updates):
            states = self.policy.encode_states(random_states(self.batch_size))
            warmup = self.score_warmup if update == 0 else 0
            means.add(self.update_score(states, warmup + self.n_score_updates))
            metrics, _ = self.update_actor(states, th.tensor(float(update)))
            means.add(metrics)
            if (update + 1) % CHECK_EVERY == 0:
                yield means.finite(after=f"{update + 1} updates")
                means = MetricMeans()


def random_states(n: int) -> th.Tensor:
    """Points on the unit circle, (n, 2)."""
    angles = 2 * math.pi * th.rand(n)
    return th.stack([angles.cos(), angles.sin()], dim=1)


@th.no_grad()
def compare_to_optimum(model: KnownReward, n_states: int = 8, n_samples: int = 100_000) -> dict[str, float]:
    """Total variation on a grid of cells half a standard deviation wide, deviation, modes and saturation."""
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
    """A model at SACARDAE's defaults, apart from the temperature that the task fixes."""
    return KnownReward(
        "MlpPolicy", OneStepEnv(), n_modes=N_MODES[task], ent_coef=1.0, seed=seed, buffer_size=1, device="cpu", **kwargs
    )


def run_folder(settings: dict[str, Any]) -> Path:
    return common.RUNS / "closed_loop" / f"{settings['task'].replace(' ', '_')}_seed{settings['seed']}"


def run(settings: dict[str, Any], run: Run) -> str:
    """One training: leaves checks.csv, a row for each check, in its folder."""
    model = make_model(settings["task"], settings["seed"])
    start = time.process_time()
    row: dict[str, Any] = {}
    for check, metrics in enumerate(model.updates(settings["updates"]), start=1):
        row = {"task": settings["task"], "seed": settings["seed"], "update": check * CHECK_EVERY}
        row |= {name: round(value, 4) for name, value in compare_to_optimum(model).items()}
        row |= {"entropy": round(metrics["entropy"], 4), "cpu_seconds": round(time.process_time() - start, 1)}
        merge_csv(run.folder / "checks.csv", [row | versions()], key=("update",))
        run.report(row["update"], settings["updates"])
    return f"{settings['task']} seed {settings['seed']}: total variation {row['total_variation']}"


def plot(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Total variation and mode masses over training, a line for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
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
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ...")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=common.RESULTS)
    options = parser.parse_args(argv)
    if options.updates % CHECK_EVERY:
        parser.error(f"--updates {options.updates}: accepted are multiples of {CHECK_EVERY}")
    runs = [
        {"task": task, "seed": seed, "updates": options.updates} for seed in range(options.seeds) for task in N_MODES
    ]
    done = run_missing(run, run_folder, runs, processes(options.jobs))
    table = options.out / "closed_loop.csv"
    for settings in done:
        merge_csv(table, read_csv(run_folder(settings) / "checks.csv"), key=("task", "seed", "update"))
    if done:
        plot(read_csv(table), table.with_suffix(".png"))
        print(f"written: {table}, {table.with_suffix('.png')}")
    if len(done) < len(runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
