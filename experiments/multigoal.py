"""Does the policy keep all four goals? Training and stochastic rollouts on ardae/MultiGoal-v0.

    python -m experiments.multigoal [--algos sac,sac_ardae] [--steps 20000] [--seed 0] [--jobs 2]

One budget for all: `SHARED` below and `--steps` environment steps, one gradient step each. The temperature is fixed:
returns differ by tens to hundreds, and `--ent-coef 5` is where the optimal policy has four clearly separate modes at
the origin yet still heads for the goals (see multigoal_exact). Afterwards 200 stochastic episodes start at the origin.
Reaching all goals does not take a multimodal policy (a broad Gaussian diffuses to them all), so `tv_origin` also holds
the policy's first action against the exact optimum: the total variation distance of their distributions.
Written: results/multigoal.csv and results/multigoal.png (for each algorithm and the exact optimum: paths over the exact
soft value, and the first action's distribution). Finished runs in runs/ are kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import ardae_envs  # noqa: F401 (registers the environment, also in the worker processes)
from ardae_envs.multi_goal import GOAL_RADIUS, GOALS
from ardae_rl.runs.jobs import processes, run_missing
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import merge_csv, versions
from experiments import common, multigoal_exact

ENV_ID = "ardae/MultiGoal-v0"
GAMMA, EPISODES, EPISODE_STEPS, PATHS_DRAWN, ORIGIN_ACTIONS = 0.99, 200, 30, 100, 20_000
# Arguments that all algorithms share. Everything else is the algorithm's own default.
SHARED: dict[str, Any] = {
    "gamma": GAMMA,
    "learning_starts": 1_000,
    "batch_size": 256,
    "buffer_size": 100_000,
    "policy_kwargs": {"net_arch": [256, 256]},
}


def goal_of(path: np.ndarray) -> int:
    """Index of the goal in which a path (t, 2) ends, or -1."""
    distances = np.linalg.norm(path[-1] - GOALS, axis=1)
    return int(distances.argmin()) if distances.min() < GOAL_RADIUS else -1


def rollouts(model: Any, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Stochastic episodes from the origin: their paths (t, 2) and returns (EPISODES,)."""
    envs = [gym.make(ENV_ID) for _ in range(EPISODES)]
    model.set_random_seed(seed)
    paths = [[env.reset(options={"position": (0, 0)})[0]] for env in envs]
    returns = np.zeros(EPISODES)
    running = list(range(EPISODES))
    while running:
        actions, _ = model.predict(np.stack([paths[i][-1] for i in running]), deterministic=False)
        remaining = []
        for i, action in zip(running, actions, strict=True):
            obs, reward, terminated, truncated, _ = envs[i].step(action)
            paths[i].append(obs)
            returns[i] += float(reward)
            if not (terminated or truncated):
                remaining.append(i)
        running = remaining
    return [np.stack(path) for path in paths], returns


def run_folder(settings: dict[str, Any]) -> Path:
    return common.RUNS / "multigoal" / f"{settings['algo']}_seed{settings['seed']}"


def run(settings: dict[str, Any], run: Run) -> str:
    """Train and roll out: leaves model.zip and rollouts.npz in its folder."""
    arguments = settings["arguments"] | {"ent_coef": settings["ent_coef"], "seed": settings["seed"]}
    model = common.make_model(settings["algo"], ENV_ID, **arguments)
    model.learn(settings["steps"])
    model.save(run.folder / "model")
    paths, returns = rollouts(model, settings["seed"])
    first, _ = model.predict(np.zeros((ORIGIN_ACTIONS, 2), dtype=np.float32), deterministic=False)
    lengths = np.array([len(path) for path in paths])
    np.savez(
        run.folder / "rollouts.npz", positions=np.concatenate(paths), lengths=lengths, returns=returns, first=first
    )
    return f"{settings['algo']} seed {settings['seed']}: trained"


@dataclass(frozen=True)
class Outcome:
    """What one policy did: paths (t, 2), returns, and samples (m, 2) of its action at the origin."""

    paths: list[np.ndarray]
    returns: np.ndarray
    first_actions: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "Outcome":
        with np.load(folder / "rollouts.npz") as saved:
            paths = np.split(saved["positions"], np.cumsum(saved["lengths"])[:-1])
            return cls(paths, saved["returns"], saved["first"])

    @classmethod
    def exact(cls, solution: multigoal_exact.Solution, seed: int) -> "Outcome":
        rng = np.random.default_rng(seed)
        paths = solution.rollouts(EPISODES, EPISODE_STEPS, rng)
        chosen = rng.choice(len(solution.actions), ORIGIN_ACTIONS, p=solution.origin_policy().ravel())
        return cls(paths, exact_returns(paths), solution.actions[chosen])

    def hits(self) -> np.ndarray:
        """How many episodes reached no goal, then each goal: (5,)."""
        return np.bincount([goal_of(path) + 1 for path in self.paths], minlength=len(GOALS) + 1)

    def summary(self, solution: multigoal_exact.Solution) -> dict[str, Any]:
        """CSV columns; the entropy of the goals reached is in nats (log 4 = 1.386 at most)."""
        none, *reached = map(int, self.hits())
        shares = np.array([n for n in reached if n]) / max(sum(reached), 1)
        names = (f"goal_{x:.0f}_{y:.0f}" for x, y in GOALS)
        return dict(zip(names, reached, strict=True)) | {
            "none": none,
            "entropy": f"{abs(float(-(shares * np.log(shares)).sum())):.3f}",  # abs: a single goal gives -0.0
            "tv_origin": f"{solution.total_variation(self.first_actions):.3f}",
            "mean_return": f"{self.returns.mean():.1f}",
        }


def exact_returns(paths: Sequence[np.ndarray]) -> np.ndarray:
    """Returns of given paths, by the environment itself (moves along the border may differ from the actions)."""
    env = gym.make(ENV_ID)
    returns = []
    for path in paths:
        env.reset(options={"position": path[0]})
        returns.append(sum(float(env.step(move.astype(np.float32))[1]) for move in np.diff(path, axis=0)))
    return np.array(returns)


def plot(outcomes: dict[str, Outcome], exact: multigoal_exact.Solution, file: Path) -> None:
    """A column for each policy: paths coloured by the goal they reach over the exact soft value; the first action."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patches import Circle

    colours = ["#d1495b", "#2e86ab", "#edae49", "#3a7d44"]
    size = (3.6 * len(outcomes), 7.8)
    figure, axes = plt.subplots(2, len(outcomes), figsize=size, layout="constrained", squeeze=False)
    # Quantiles, as the value is steep in the corners and flat between the goals.
    levels = np.quantile(exact.value, np.linspace(0, 1, 15))
    shades = BoundaryNorm(levels, 256)
    brightest = exact.origin_policy().max() * ORIGIN_ACTIONS
    for (path_axes, action_axes), (name, outcome) in zip(axes.T, outcomes.items(), strict=True):
        grid = exact.positions
        path_axes.contourf(grid, grid, exact.value.T, levels, norm=shades, cmap="Greys_r", alpha=0.4)
        for path in outcome.paths[:PATHS_DRAWN]:
            goal = goal_of(path)
            path_axes.plot(*path.T, color=colours[goal] if goal >= 0 else "0.35", linewidth=0.8, alpha=0.55)
        for position, colour in zip(GOALS, colours, strict=True):
            path_axes.add_patch(Circle(tuple(position), GOAL_RADIUS, fill=False, edgecolor=colour, linewidth=2))
        none, *reached = outcome.hits()
        path_axes.set_title(f"{name}\ngoals reached: {' '.join(map(str, reached))}, none: {none}", fontsize=10)
        path_axes.set(xlim=(-7, 7), ylim=(-7, 7), aspect="equal", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
        edges = np.linspace(-1.05, 1.05, 22)  # the cells of the grid of actions
        action_axes.hist2d(*outcome.first_actions.T, bins=[edges, edges], cmap="magma", vmin=0, vmax=brightest)
        distance = exact.total_variation(outcome.first_actions)
        action_axes.set_title(f"action at the origin (total variation {distance:.2f})", fontsize=10)
        action_axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algos", type=common.algorithm_names, default=list(common.ALGORITHMS))
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ent-coef", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=common.RESULTS)
    options = parser.parse_args(argv)

    run_settings = {"seed": options.seed, "steps": options.steps, "ent_coef": options.ent_coef, "arguments": SHARED}
    runs = [{"algo": algo} | run_settings for algo in options.algos]
    if len(run_missing(run, run_folder, runs, processes(options.jobs))) < len(runs):
        raise SystemExit(1)

    exact = multigoal_exact.solve(options.ent_coef, GAMMA)
    outcomes = {settings["algo"]: Outcome.load(run_folder(settings)) for settings in runs}
    outcomes["exact"] = Outcome.exact(exact, options.seed)
    results = {name: outcome.summary(exact) for name, outcome in outcomes.items()}

    setting = {"steps": options.steps, "ent_coef": options.ent_coef}
    rows = [
        {"algo": name, "seed": options.seed} | numbers | (setting | {"steps": 0} if name == "exact" else setting)
        for name, numbers in results.items()
    ]
    table = Table("algo", *(column.removeprefix("goal_") for column in results["exact"]))
    for name, numbers in results.items():
        table.add_row(name, *map(str, numbers.values()))
    Console().print(table)
    csv_path, picture = options.out / "multigoal.csv", options.out / "multigoal.png"
    merge_csv(csv_path, [row | versions() for row in rows], key=("algo", "seed", "steps", "ent_coef"))
    labels = common.LABELS | {"exact": f"optimal at temperature {options.ent_coef:g}"}
    plot({labels[name]: outcome for name, outcome in outcomes.items()}, exact, picture)
    print(f"written: {csv_path}, {picture}")


if __name__ == "__main__":
    main()
