"""Drawings of the maps of ardae/MultiGoalMaze-v0, with shortest paths and the environment's steps per second.

Paths are counted in cells, with open and with closed obstacles. Steps per second are medians over rounds, for one
environment and for eight in Stable-Baselines3's `DummyVecEnv` (in total), with random actions and one thread.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import make_vec_env

import ardae_envs  # noqa: F401 (registers the environment)
from ardae_envs.maze_drawing import draw_map
from ardae_envs.mazes import MAZES, Maze
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, versions
from experiments.figure import Figure, Result

ENV_ID = "ardae/MultiGoalMaze-v0"
BUDGETS = {"smoke": {"rounds": 1, "steps": 50}, "quick": {"rounds": 5, "steps": 4000}}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [{"name": maze, "maze": maze} | BUDGETS[budget] for maze in MAZES]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Measure one map."""
    name, steps = settings["maze"], settings["steps"]
    maze = Maze.parse(name)
    rounds = [(_single_rate(name, steps), _vectorized_rate(name, steps // 8)) for _ in range(settings["rounds"])]
    single, vectorized = (round(statistics.median(rates)) for rates in zip(*rounds, strict=True))
    return [
        {
            "maze": name,
            "rows": maze.walls.shape[0],
            "columns": maze.walls.shape[1],
            "goals": len(maze.goals),
            "obstacles": len(maze.obstacles),
            "max_steps": maze.max_steps,
            "shortest_path": _longest(maze.shortest_paths()),
            "shortest_path_closed": _longest(maze.shortest_paths(closed=True)),
            "steps_per_second": single,
            "steps_per_second_8": vectorized,
        }
    ]


def _longest(lengths: tuple[int | None, ...]) -> int:
    """Return the length to the farthest goal; -1 if one cannot be reached."""
    return -1 if None in lengths else max(length for length in lengths if length is not None)


def _single_rate(maze: str, steps: int) -> float:
    env = gym.make(ENV_ID, maze=maze, disable_env_checker=True)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 2)).astype(np.float32)
    begin = time.perf_counter()
    for action in actions:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - begin)


def _vectorized_rate(maze: str, steps: int) -> float:
    envs = make_vec_env(ENV_ID, 8, seed=0, env_kwargs={"maze": maze, "disable_env_checker": True})
    envs.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 8, 2)).astype(np.float32)
    begin = time.perf_counter()
    for action in actions:
        envs.step(action)
    return 8 * steps / (time.perf_counter() - begin)


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    left_out = versions()
    return [{name: row[name] for name in row if name not in left_out} for row in rows]


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw the maps with closed obstacles side by side."""
    from matplotlib.figure import Figure as Plot

    mazes = {result.settings["maze"]: Maze.parse(result.settings["maze"]) for result in results}
    figure = Plot(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, len(mazes), squeeze=False, width_ratios=[maze.walls.shape[1] for maze in mazes.values()])
    for axis, (name, maze) in zip(axes[0], mazes.items(), strict=True):
        axis.imshow(draw_map(maze, closed=True))
        axis.set_title(f"{name}: {len(maze.goals)} goals, {maze.max_steps} steps at most", fontsize=10)
        axis.axis("off")
    figure.savefig(path, dpi=110)


FIGURE = Figure(
    runs=runs, run=run, summary=summary, draw=draw, seeds={"smoke": 0, "quick": 0}, key=("maze",), timed=True
)
