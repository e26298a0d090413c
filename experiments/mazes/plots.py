"""Plots of episodes in mazes: trajectories over the walls, learning curves, fronts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ardae_envs.maze_drawing import draw_map, goal_color
from ardae_envs.mazes import MAZES, Maze
from experiments.mazes.measures import HIGH_SUCCESS
from experiments.mazes.training import METHODS

_COLORS = dict(zip(METHODS, ("#7f7f7f", "#2e86ab", "#edae49", "#d1495b", "#8350a0"), strict=False))


def draw_plate(episodes: Mapping[tuple[str, str], tuple[np.ndarray, list[np.ndarray]]], path: Path) -> None:
    """Plot trajectories over the maps, one row per map and one column per method, colored by the goal.

    :param episodes: Goals (n,) and paths, each (steps + 1, 2) in cells, by map and method.
    :param path: The .png file.
    """
    from matplotlib.figure import Figure as Plot

    mazes = [maze for maze in MAZES if any(key[0] == maze for key in episodes)]
    methods = [method for method in METHODS if any(key[1] == method for key in episodes)]
    figure = Plot(figsize=(2.9 * len(methods), 2.9 * len(mazes)), layout="constrained")
    axes = figure.subplots(len(mazes), len(methods), squeeze=False)
    for row, maze in zip(axes, mazes, strict=True):
        for axis, method in zip(row, methods, strict=True):
            axis.axis("off")
            if (maze, method) in episodes:
                draw_trajectories(axis, Maze.parse(maze), *episodes[maze, method])
                axis.set_title(f"{METHODS[method].label}, {maze}", fontsize=10)
    figure.savefig(path, dpi=130)


def draw_trajectories(axes: Any, maze: Maze, goals: np.ndarray, paths: Sequence[np.ndarray]) -> None:
    """Plot paths over the walls of a map; those that reach no goal are gray.

    :param axes: Matplotlib's axes.
    :param maze: The map.
    :param goals: The goal in which each path ends, or -1, (n,).
    :param paths: Paths, each (steps + 1, 2), in cells.
    """
    rows, columns = maze.walls.shape
    axes.imshow(draw_map(maze), extent=(-columns / 2, columns / 2, -rows / 2, rows / 2))
    for goal, path in zip(goals.tolist(), paths, strict=True):
        color = np.array(goal_color(goal)) / 255
        axes.plot(*path.T, color=color, linewidth=0.8, alpha=0.7)


def draw_curves(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Plot goals reached and success rate over environment steps: a thick line per method, a thin one per seed.

    :param rows: Rows of the table.
    :param path: The .png file.
    """
    from matplotlib.figure import Figure as Plot

    mazes = [maze for maze in MAZES if any(row["maze"] == maze for row in rows)]
    figure = Plot(figsize=(4.2 * len(mazes), 5.6), layout="constrained")
    axes = figure.subplots(2, len(mazes), squeeze=False)
    for column, maze in zip(axes.T, mazes, strict=True):
        n_goals = len(Maze.parse(maze).goals)
        for axis, name, top in zip(column, ("reachable_goals", "success"), (n_goals, 1), strict=True):
            for method, curves in _curves(rows, maze, name).items():
                for steps, values in curves:
                    axis.plot(steps, values, color=_COLORS[method], linewidth=0.8, alpha=0.35)
                steps, values = curves[0][0], np.mean([values for _, values in curves], axis=0)
                axis.plot(steps, values, color=_COLORS[method], label=METHODS[method].label)
            axis.set(title=f"{maze}: {name.replace('_', ' ')}", xlabel="environment steps", ylim=(0, 1.05 * top))
            axis.spines[["top", "right"]].set_visible(False)
    axes[1, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def _curves(rows: Sequence[Mapping[str, str]], maze: str, name: str) -> dict[str, list[tuple[list[int], list[float]]]]:
    """Return steps and values of a column for each seed, by method."""
    by_seed: dict[tuple[str, str], tuple[list[int], list[float]]] = {}
    for row in rows:
        if row["maze"] == maze:
            steps, values = by_seed.setdefault((row["method"], row["seed"]), ([], []))
            steps.append(int(row["step"]))
            values.append(float(row[name]))
    curves: dict[str, list[tuple[list[int], list[float]]]] = {}
    for (method, _), curve in by_seed.items():
        curves.setdefault(method, []).append(curve)
    return curves


_FRONT_MEASURES = {
    "reachable_goals": "goals reached in 500 episodes",
    "removal_sr5": "success without half of the goals (SR5)",
}


def draw_fronts(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Plot both measures of diversity against steps to goal: a point per temperature, hollow below 95 % success.

    :param rows: The last rows of runs that differ in the temperature.
    :param path: The .png file.
    """
    from matplotlib.figure import Figure as Plot

    mazes = [maze for maze in MAZES if any(row["maze"] == maze for row in rows)]
    figure = Plot(figsize=(4.8 * len(mazes), 7.2), layout="constrained")
    axes = figure.subplots(len(_FRONT_MEASURES), len(mazes), squeeze=False)
    for column, maze in zip(axes.T, mazes, strict=True):
        for axis, (measure, title) in zip(column, _FRONT_MEASURES.items(), strict=True):
            for method in METHODS:
                own = [row for row in rows if (row["maze"], row["method"]) == (maze, method)]
                _draw_front(axis, sorted(own, key=lambda row: float(row["temperature"])), method, measure)
            axis.set(title=maze, xlabel="steps to goal", ylabel=title)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def _draw_front(axis: Any, rows: Sequence[Mapping[str, str]], method: str, measure: str) -> None:
    """Plot one method's temperatures, in the order of the rows."""
    if not rows:
        return
    points = [(float(row["steps_to_goal"]), float(row[measure])) for row in rows]
    color = _COLORS[method]
    axis.plot(*zip(*points, strict=True), color=color, linewidth=1, alpha=0.5, label=METHODS[method].label)
    for point, row in zip(points, rows, strict=True):
        face = color if float(row["success"]) >= HIGH_SUCCESS else "white"
        axis.plot(*point, "o", color=color, markerfacecolor=face)
        axis.annotate(row["temperature"], point, color=color, fontsize=7, xytext=(3, 3), textcoords="offset points")
