"""The temperature of each method in the mazes: goals reached against steps to goal, the whole front on one seed.

A policy that is random enough reaches all goals of an open room by wandering, so the number of goals is meaningful only
together with the steps to goal and at a high success rate. Runs, rows and measures are those of `mazes`; the
temperature is the entropy target in nats, for TD3 the standard deviation of its exploration noise, for a log-distance
its β. All methods have the same number of values. The seeds start at 100, apart from those of `mazes`.

The summary marks the value to choose for `mazes`, by the same rule for all methods: of those whose success rate is at
least 95 % (or is the highest), the one with the best success after half of the goals are removed; of equals, the one
with the shortest way.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ardae_envs.mazes import MAZES
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result
from experiments.mazes import measures
from experiments.mazes.compare import EXPLORE, KEY, MEASURES, SUMMARY_KEY, checked, last_rows, run, settings
from experiments.mazes.plots import draw_fronts
from experiments.mazes.training import METHODS, UPDATES

FIRST_SEED = 100  # above those of `mazes`


def runs(
    budget: str,
    n_seeds: int,
    *,
    mazes: tuple[str, ...] = MAZES,
    methods: tuple[str, ...] = tuple(METHODS),
    target_entropies: tuple[float, ...] = (0.0, 0.5, 0.75, 1.0),
    noises: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5),
    betas: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8),
    reward: str = "sparse",
    explore: float = EXPLORE,
    updates: int = UPDATES,
) -> list[dict[str, Any]]:
    mazes = checked("mazes", mazes, MAZES)
    protocol: dict[str, Any] = {"reward": reward, "explore": explore, "updates": updates}
    swept = {"target_entropy": target_entropies, "action_noise": noises, "beta": betas}
    return [
        settings(budget, maze, method, temperature, seed, **protocol)
        for seed in range(FIRST_SEED, FIRST_SEED + n_seeds)
        for maze in (mazes[:1] if budget == "smoke" else mazes)
        for method in checked("methods", methods, tuple(METHODS))
        for temperature in swept[METHODS[method].temperature][: 1 if budget == "smoke" else None]
    ]


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    best = chosen(rows)
    return [
        {name: row[name] for name in (*SUMMARY_KEY, "seed", *MEASURES)}
        | {"chosen": "yes" if best[maze, method] == temperature else ""}
        for (maze, method, temperature), group in last_rows(rows).items()
        for row in group
    ]


def chosen(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str], str]:
    """Return the temperature to choose by map and method; measures are means over seeds."""
    candidates: dict[tuple[str, str], list[tuple[float, float, float, str]]] = {}
    for (maze, method, temperature), group in last_rows(rows).items():
        names = ("success", "removal_sr5", "steps_to_goal")
        success, removal, steps = (float(np.mean([float(row[name]) for row in group])) for name in names)
        found = candidates.setdefault((maze, method), [])
        found.append((min(success, measures.HIGH_SUCCESS), removal, -steps, temperature))
    return {key: max(found)[-1] for key, found in candidates.items()}


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the fronts of the maps side by side."""
    rows = [row for result in results for row in result.rows]
    draw_fronts([row for group in last_rows(rows).values() for row in group], path)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    draw=draw,
    seeds={"smoke": 1, "quick": 1, "paper": 1},
    key=KEY,
    summary_key=(*SUMMARY_KEY, "seed"),
)
