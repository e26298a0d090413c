"""Which methods keep several ways open? Goals reached in mazes, and success after goals are removed or ways closed.

Methods, exploration, updates and measures are those of `experiments.mazes.training` and `measures`; docs/mazes.md has
the maps. All methods start with the same number of steps of randomly held actions. Entropy targets, TD3's exploration
noise and the β of the log-distance are in `TEMPERATURES`; `maze_front` chooses them, on seeds of its own. After the
first 10,000 steps, each tenth of the training is followed by 100 sampled episodes, and the last one by 500, and by 500
with closed obstacles; TD3's have its exploration noise. The table has a row per evaluation, with the goal of every
episode as one character ("-" for none). Besides the plot of trajectories, mazes_curves.png shows the goals reached
during training.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_envs.mazes import MAZES
from ardae_envs.multi_goal_maze import REWARDS
from ardae_rl.common.checks import check_between, check_choice, check_count
from ardae_rl.grid.statistics import MIN_SEEDS
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result
from experiments.mazes import measures
from experiments.mazes.plots import draw_curves, draw_plate
from experiments.mazes.segments import Segment, finished_rows, segments
from experiments.mazes.training import (
    METHODS,
    TRAINING_STEPS,
    UPDATES,
    Episodes,
    fill_buffer,
    first_action_entropy,
    make_envs,
    n_goals,
    new_model,
    play,
)

# Entropy target in nats (at most ln 4 = 1.39); for TD3, standard deviation of its noise; for the log-distance, β.
# Those of `simple` are chosen by `maze_front`, the others are not tuned yet.
_UNTUNED = dict.fromkeys(METHODS, 0.0) | {"td3": 0.2, "sac_ardae-distance": 0.8}
TEMPERATURES: dict[str, dict[str, float]] = {
    "simple": {"td3": 0.5, "sac": 1.0, "sac_nf": 1.0, "sac_ardae": 0.75, "sac_ardae-distance": 0.6},
    "medium": _UNTUNED,
    "hard": _UNTUNED,
}
EXPLORE = 0.3  # share of the steps after the first fill that have randomly held actions
PROTOCOL = ("reward", "explore", "updates", "steps")
KEY = ("maze", "method", "temperature", "reward", "explore", "updates", "seed", "steps", "step")
SUMMARY_KEY = ("maze", "method", "temperature", *PROTOCOL)
MEASURES = ("success", "reachable_goals", "steps_to_goal", "first_action_entropy", "removal_sr5", "obstacle_sr5")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"scale": 0, "fill": 16, "checks": 2, "episodes": 5, "last_episodes": 6, "max_steps": 6},
    "quick": {"scale": 0.5, "fill": 10_000, "checks": 10, "episodes": 100, "last_episodes": 500, "max_steps": None},
    "paper": {"scale": 1.0, "fill": 10_000, "checks": 10, "episodes": 100, "last_episodes": 500, "max_steps": None},
}
SEEDS = {"smoke": 1, "quick": 5, "paper": 3}
EPISODES, PATHS_DRAWN = "episodes.npz", 60


def runs(
    budget: str,
    n_seeds: int,
    *,
    mazes: tuple[str, ...] = MAZES,
    methods: tuple[str, ...] = tuple(METHODS),
    reward: str = "sparse",
    explore: float = EXPLORE,
    updates: int = UPDATES,
) -> list[dict[str, Any]]:
    mazes = checked("mazes", mazes, MAZES)
    protocol: dict[str, Any] = {"reward": reward, "explore": explore, "updates": updates}
    return [
        settings(budget, maze, method, TEMPERATURES[maze][method], seed, **protocol)
        for seed in range(n_seeds)
        for maze in (mazes[:1] if budget == "smoke" else mazes)
        for method in checked("methods", methods, tuple(METHODS))
    ]


def settings(
    budget: str,
    maze: str,
    method: str,
    temperature: float,
    seed: int,
    reward: str = "sparse",
    explore: float = EXPLORE,
    updates: int = UPDATES,
) -> dict[str, Any]:
    """Return the settings of one training.

    :param budget: One of :data:`BUDGETS`.
    :param maze: Name of the map.
    :param method: One of :data:`~experiments.mazes.training.METHODS`.
    :param temperature: Entropy target in nats; for TD3, standard deviation of the exploration noise; for the
        log-distance, β.
    :param seed: Seed of the training.
    :param reward: "sparse" or "dense".
    :param explore: Share of the steps after the first fill that have randomly held actions.
    :param updates: Number of gradient steps for every step of the eight environments.
    """
    check_choice("reward", reward, REWARDS)
    check_between("explore", explore, 0, 1)
    check_count("updates", updates)
    sizes: dict[str, Any] = BUDGETS[budget] | {"arguments": {"gradient_steps": updates}}
    if budget == "smoke":
        short = {"score_warmup": 1} if METHODS[method].algorithm == "sac_ardae" else {}
        sizes["arguments"] = {"gradient_steps": 1, "batch_size": 8} | short
    steps = int(sizes["scale"] * TRAINING_STEPS[maze]) or 32
    name = f"{maze} {method} {temperature:g} {reward} {explore:g} {updates} seed{seed}"
    key = {"name": name, "maze": maze, "method": method, "temperature": temperature, "reward": reward}
    return key | {"explore": explore, "updates": updates, "seed": seed, "steps": steps} | sizes


def checked(name: str, values: tuple[str, ...], choices: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values after checking them.

    :raises ValueError: If a value is not one of the choices.
    """
    for value in values:
        check_choice(name, value, choices)
    return values


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train once, and return a row per evaluation."""
    for segment in train(settings, run):
        segment.rows.append(_row(settings, segment, run.folder))
    return finished_rows(run.folder)  # type: ignore[return-value]


def train(settings: dict[str, Any], run: Run) -> Iterator[Segment]:
    """Train with all goals, and yield after every segment."""
    th.set_num_threads(1)
    method, steps, seed = METHODS[settings["method"]], settings["steps"], settings["seed"]
    envs = make_envs(settings["maze"], settings["reward"], max_steps=settings["max_steps"])
    every = steps // settings["checks"]

    def new() -> OffPolicyAlgorithm:
        model = new_model(method, envs, settings["temperature"], seed, **settings["arguments"])
        fill_buffer(model, settings["fill"], seed)
        return model

    yield from segments(run, method.algorithm, new, envs, steps, every, seed, settings["explore"])


def _row(settings: dict[str, Any], segment: Segment, folder: Path) -> dict[str, Any]:
    """Return the row of an evaluation; the last one includes closed obstacles."""
    maze, model = settings["maze"], segment.model
    last = model.num_timesteps >= settings["steps"]
    n_episodes = settings["last_episodes" if last else "episodes"]
    evaluate = partial(play, model, maze, n_episodes, max_steps=settings["max_steps"])
    episodes = evaluate(10_000 + settings["seed"])
    obstacle_goals: Any = evaluate(20_000 + settings["seed"], obstacles=True).goals if last else ()
    if last:
        _save(folder, episodes)
    row: dict[str, Any] = {name: settings[name] for name in KEY[:-1]} | {"step": model.num_timesteps}
    row |= {"episodes": n_episodes} | summarize(episodes.goals, episodes.steps, n_goals(maze))
    row |= {
        "obstacle_success": round(measures.success_rate(obstacle_goals), 4) if last else "",
        "obstacle_sr5": round(measures.group_success(obstacle_goals), 4) if last else "",
        "first_action_entropy": round(first_action_entropy(model, maze), 3),
        "behavior_episodes": len(segment.behavior),
        "behavior_goals": measures.to_text(segment.behavior),
        "cpu_seconds": round(segment.seconds, 1),
        "goals": measures.to_text(episodes.goals),
        "obstacle_goals": measures.to_text(obstacle_goals),
    }
    return row


def summarize(goals: np.ndarray, steps: np.ndarray, n: int) -> dict[str, Any]:
    """Return columns that summarize sampled episodes in a map with n goals."""
    return {
        "success": round(measures.success_rate(goals), 4),
        "reachable_goals": measures.reachable_goals(goals),
        "steps_to_goal": round(measures.steps_to_goal(goals, steps), 1),
        "removal_sr5": round(measures.removal_success(goals, n), 4),
    }


def _save(folder: Path, episodes: Episodes) -> None:
    """Save the episodes that the plot shows."""
    paths = episodes.paths[:PATHS_DRAWN]
    lengths = [len(path) for path in paths]
    np.savez(folder / EPISODES, goals=episodes.goals[:PATHS_DRAWN], positions=np.concatenate(paths), lengths=lengths)


def load_episodes(folder: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the goals (n,) and the paths, each (steps + 1, 2), that a run has saved."""
    with np.load(folder / EPISODES) as saved:
        return saved["goals"], np.split(saved["positions"], np.cumsum(saved["lengths"])[:-1])


def last_rows(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str, str], list[dict[str, str]]]:
    """Return the last row of each run, by map, method and temperature."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows:
        if row["obstacle_sr5"] != "":
            groups.setdefault((row["maze"], row["method"], row["temperature"]), []).append(row)
    return groups


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over seeds; with enough seeds, both SR5 have bootstrap intervals of 95 %."""
    table: list[Row] = []
    for (maze, method, temperature), group in last_rows(rows).items():
        line: dict[str, Any] = {"maze": maze, "method": method, "temperature": temperature}
        line |= {name: group[0][name] for name in PROTOCOL} | {"n_seeds": len(group)}
        for name in MEASURES:
            line[name] = round(float(np.mean([float(row[name]) for row in group])), 4)
        left = partial(measures.removal_success, n_goals=n_goals(maze))
        sr5: dict[str, tuple[str, Callable[..., float]]] = {
            "removal": ("goals", left),
            "obstacle": ("obstacle_goals", measures.group_success),
        }
        for name, (column, measure) in sr5.items():
            goals = [measures.from_text(row[column]) for row in group]
            low, high = measures.interval(goals, measure) if len(group) >= MIN_SEEDS else (math.nan, math.nan)
            line |= {f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}
        table.append(line)
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot trajectories of the first seed by map and method, and the curves next to them."""
    first = {(r.settings["maze"], r.settings["method"]): r for r in reversed(results)}
    draw_plate({key: load_episodes(result.folder) for key, result in first.items()}, path)
    rows = [row for result in results for row in result.rows]
    draw_curves(rows, path.with_name(f"{path.stem}_curves.png"))


FIGURE = Figure(runs=runs, run=run, summary=summary, draw=draw, seeds=SEEDS, key=KEY, summary_key=SUMMARY_KEY)
