"""Does the policy keep all four goals of ardae/MultiGoal-v0? Stochastic episodes compared with the exact optimum's.

All algorithms have the same budget of environment steps, with one gradient step each, and the settings in `SHARED`.
The temperature is fixed: returns differ by tens to hundreds, and at the temperature 5 the optimal policy has four
clearly separate modes at the origin yet still heads for the goals (see multigoal_exact). After training, 200 stochastic
episodes start at the origin. Reaching all goals does not take a multimodal policy (a broad Gaussian diffuses to all of
them), so `tv_origin` also compares the policy's first action with the exact optimum's, by total variation distance.
The plot shows paths over the exact soft value, and the distribution of the first action, for each algorithm and the
optimum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import ardae_envs  # noqa: F401 (registers the environment, also in the worker processes)
from ardae_envs.multi_goal import GOAL_RADIUS, GOALS
from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.grid.statistics import seed_difference
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments import multigoal_exact
from experiments.common import make_model
from experiments.figure import Figure, Result, needed

ENV_ID = "ardae/MultiGoal-v0"
LABELS = {"sac": "SAC (SB3)", "sac_ardae": "SAC-AR-DAE"}
ALGORITHMS = ("sac", "sac_ardae")
GAMMA, EPISODE_STEPS, PATHS_DRAWN = 0.99, 30, 100
_SOLUTION = "solution.npz"
# Arguments of all algorithms; the others are the algorithm's own defaults
SHARED: dict[str, Any] = {
    "gamma": GAMMA,
    "learning_starts": 1_000,
    "batch_size": 256,
    "buffer_size": 100_000,
    "policy_kwargs": {"net_arch": [256, 256]},
}


BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "steps": 20,
        "episodes": 4,
        "origin_actions": 100,
        "arguments": SHARED | {"learning_starts": 10, "batch_size": 8},
    },
    "quick": {"steps": 20_000, "episodes": 200, "origin_actions": 20_000, "arguments": SHARED},
}


def goal_of(path: np.ndarray) -> int:
    """Return the index of the goal in which a path (t, 2) ends, or -1."""
    distances = np.linalg.norm(path[-1] - GOALS, axis=1)
    return int(distances.argmin()) if distances.min() < GOAL_RADIUS else -1


def rollouts(model: Any, seed: int, episodes: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the paths (t, 2) and the returns (episodes,) of stochastic episodes from the origin."""
    envs = [gym.make(ENV_ID) for _ in range(episodes)]
    model.set_random_seed(seed)
    paths = [[env.reset(options={"position": (0, 0)})[0]] for env in envs]
    returns = np.zeros(episodes)
    running = list(range(episodes))
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


def runs(
    budget: str, n_seeds: int, *, algos: tuple[str, ...] = ALGORITHMS, ent_coef: float = 5.0
) -> list[dict[str, Any]]:
    for algo in algos:
        check_choice("algos", algo, ALGORITHMS)
    check_positive("ent_coef", ent_coef)
    optimum = {"name": f"optimum {ent_coef:g}", "ent_coef": ent_coef}
    return [
        {"name": f"{algo} {ent_coef:g} seed{seed}", "algo": algo, "seed": seed, "ent_coef": ent_coef, "needs": optimum}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for algo in (*algos, "exact")
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Compute the optimal policy."""
    multigoal_exact.solve(settings["ent_coef"], GAMMA).save(run.folder / _SOLUTION)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one algorithm, or take the optimal policy, and play episodes."""
    exact = multigoal_exact.Solution.load(needed(run.folder, settings) / _SOLUTION)
    if settings["algo"] == "exact":
        outcome = Outcome.exact(exact, settings["seed"], settings["episodes"], settings["origin_actions"])
    else:
        outcome = _trained(settings, run)
    outcome.save(run.folder)
    steps = 0 if settings["algo"] == "exact" else settings["steps"]
    key = {"algo": settings["algo"], "seed": settings["seed"]}
    return [key | outcome.summary(exact) | {"steps": steps, "ent_coef": settings["ent_coef"]}]


def _trained(settings: dict[str, Any], run: Run) -> "Outcome":
    arguments = settings["arguments"] | {"ent_coef": settings["ent_coef"], "seed": settings["seed"]}
    model = make_model(settings["algo"], ENV_ID, **arguments)
    model.learn(settings["steps"])
    model.save(run.folder / "model")
    paths, returns = rollouts(model, settings["seed"], settings["episodes"])
    origin = np.zeros((settings["origin_actions"], 2), dtype=np.float32)
    return Outcome(paths, returns, model.predict(origin, deterministic=False)[0])


@dataclass(frozen=True)
class Outcome:
    """Episodes of one policy: paths (t, 2) and returns, and samples (m, 2) of its action at the origin."""

    paths: list[np.ndarray]
    returns: np.ndarray
    first_actions: np.ndarray

    def save(self, folder: Path) -> None:
        lengths = np.array([len(path) for path in self.paths])
        np.savez(
            folder / "rollouts.npz",
            positions=np.concatenate(self.paths),
            lengths=lengths,
            returns=self.returns,
            first=self.first_actions,
        )

    @classmethod
    def load(cls, folder: Path) -> "Outcome":
        with np.load(folder / "rollouts.npz") as saved:
            paths = np.split(saved["positions"], np.cumsum(saved["lengths"])[:-1])
            return cls(paths, saved["returns"], saved["first"])

    @classmethod
    def exact(cls, solution: multigoal_exact.Solution, seed: int, episodes: int, origin_actions: int) -> "Outcome":
        rng = np.random.default_rng(seed)
        paths = solution.rollouts(episodes, EPISODE_STEPS, rng)
        chosen = rng.choice(len(solution.actions), origin_actions, p=solution.origin_policy().ravel())
        return cls(paths, exact_returns(paths), solution.actions[chosen])

    def hits(self) -> np.ndarray:
        """Return the number of episodes that reached no goal, then each goal, (5,)."""
        return np.bincount([goal_of(path) + 1 for path in self.paths], minlength=len(GOALS) + 1)

    def summary(self, solution: multigoal_exact.Solution) -> dict[str, Any]:
        """Return the columns of the table; the entropy of the goals reached is in nats (at most log 4 = 1.386)."""
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
    """Return the environment's own returns of paths (along the border, moves may differ from the actions)."""
    env = gym.make(ENV_ID)
    returns = []
    for path in paths:
        env.reset(options={"position": path[0]})
        returns.append(sum(float(env.step(move.astype(np.float32))[1]) for move in np.diff(path, axis=0)))
    return np.array(returns)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds by algorithm, and how much closer than SAC's the first action is to the optimum's.

    "closer" is the mean difference of the distances of the same seeds, with Student's t interval of 95 %.
    """
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row["algo"], {})[row["seed"]] = row
    distances = {algo: {seed: float(row["tv_origin"]) for seed, row in group.items()} for algo, group in groups.items()}
    table: list[Row] = []
    for algo, by_seed in groups.items():
        first = next(iter(by_seed.values()))
        line: dict[str, Any] = {"algo": algo, "steps": first["steps"], "ent_coef": first["ent_coef"]}
        line["n_seeds"] = len(by_seed)
        for name in ("entropy", "tv_origin", "mean_return"):
            line[name] = round(float(np.mean([float(row[name]) for row in by_seed.values()])), 3)
        closer = seed_difference({} if algo == "sac" else distances.get("sac", {}), distances[algo])
        line |= {f"closer_{name}": round(value, 3) for name, value in closer._asdict().items()}
        table.append(line)
    return table


def _median(algo: str, results: Sequence[Result]) -> Result:
    """Return the run of an algorithm with the median distance to the optimum, the lower one of an even number."""
    of_algo = [result for result in results if result.settings["algo"] == algo]
    of_algo.sort(key=lambda result: float(result.rows[0]["tv_origin"]))
    return of_algo[(len(of_algo) - 1) // 2]


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot a column for each policy: paths colored by the goal they reach over the exact soft value; first actions.

    Of several seeds, the one with the median distance to the optimum is shown.
    """
    from matplotlib.colors import BoundaryNorm
    from matplotlib.figure import Figure as Plot
    from matplotlib.patches import Circle

    colors = ["#d1495b", "#2e86ab", "#edae49", "#3a7d44"]
    settings = results[0].settings
    exact = multigoal_exact.Solution.load(needed(results[0].folder, settings) / _SOLUTION)
    present = {result.settings["algo"] for result in results}
    names = [name for name in (*ALGORITHMS, "exact") if name in present]
    outcomes = {name: Outcome.load(_median(name, results).folder) for name in names}
    size = (3.6 * len(outcomes), 7.8)
    figure = Plot(figsize=size, layout="constrained")
    axes = figure.subplots(2, len(outcomes), squeeze=False)
    # Quantiles, because the value is steep in the corners and flat between the goals
    levels = np.quantile(exact.value, np.linspace(0, 1, 15))
    shades = BoundaryNorm(levels, 256)
    brightest = exact.origin_policy().max() * settings["origin_actions"]
    for (path_axes, action_axes), (name, outcome) in zip(axes.T, outcomes.items(), strict=True):
        grid = exact.positions
        path_axes.contourf(grid, grid, exact.value.T, levels, norm=shades, cmap="Greys_r", alpha=0.4)
        for points in outcome.paths[:PATHS_DRAWN]:
            goal = goal_of(points)
            path_axes.plot(*points.T, color=colors[goal] if goal >= 0 else "0.35", linewidth=0.8, alpha=0.55)
        for position, color in zip(GOALS, colors, strict=True):
            path_axes.add_patch(Circle(tuple(position), GOAL_RADIUS, fill=False, edgecolor=color, linewidth=2))
        none, *reached = outcome.hits()
        label = f"optimal at temperature {settings['ent_coef']:g}" if name == "exact" else LABELS[name]
        path_axes.set_title(f"{label}\ngoals reached: {' '.join(map(str, reached))}, none: {none}", fontsize=10)
        path_axes.set(xlim=(-7, 7), ylim=(-7, 7), aspect="equal", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
        edges = np.linspace(-1.05, 1.05, 22)  # the cells of the grid of actions
        action_axes.hist2d(*outcome.first_actions.T, bins=[edges, edges], cmap="magma", vmin=0, vmax=brightest)
        distance = exact.total_variation(outcome.first_actions)
        action_axes.set_title(f"action at the origin (total variation {distance:.2f})", fontsize=10)
        action_axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    figure.savefig(path, dpi=130)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    draw=draw,
    seeds={"smoke": 1, "quick": 5},
    prepare=prepare,
    key=("algo", "seed", "steps", "ent_coef"),
    summary_key=("algo", "steps", "ent_coef"),
)
