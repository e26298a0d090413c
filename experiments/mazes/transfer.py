"""Is a policy that reaches several goals a better start for learning one of them? Steps until 90 % success.

Only one goal is rewarded, and the others are free cells. Pre-trained agents start with the networks, optimizers and
temperature of a training with all goals, and an empty replay buffer. All agents start with the same number of steps
with randomly held actions, which are included in the count. A training ends when 90 % of its sampled episodes reach the
goal, which is measured at regular intervals. It is repeated for each goal of the map.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_envs.mazes import MAZES
from ardae_rl.grid import checkpoint
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result, needed
from experiments.mazes import compare, measures
from experiments.mazes.segments import finished_rows, segments
from experiments.mazes.training import METHODS, UPDATES, fill_buffer, make_envs, n_goals, new_model, play

# The method, and whether it starts from a training with all goals
STARTS = {
    "sac": ("sac", False),
    "sac-pretrained": ("sac", True),
    "sac_ardae": ("sac_ardae", False),
    "sac_ardae-pretrained": ("sac_ardae", True),
}
LABELS = {
    "sac": "SAC from scratch",
    "sac-pretrained": "SAC pre-trained",
    "sac_ardae": "SAC-AR-DAE from scratch",
    "sac_ardae-pretrained": "SAC-AR-DAE pre-trained",
}
COLORS = {"sac": "#8fbfd6", "sac-pretrained": "#2e86ab", "sac_ardae": "#e8a6ae", "sac_ardae-pretrained": "#d1495b"}
SUCCESS = 0.9
KEY = ("maze", "start", "temperature", "goal", "reward", "explore", "updates", "seed", "steps", "step")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 32, "every": 16, "fill": 16, "episodes": 5, "goals": 1},
    "quick": {"steps": 60_000, "every": 4_000, "fill": 4_000, "episodes": 100, "goals": None},
    "paper": {"steps": 200_000, "every": 4_000, "fill": 4_000, "episodes": 100, "goals": None},
}


def runs(
    budget: str,
    n_seeds: int,
    *,
    mazes: tuple[str, ...] = ("simple", "medium"),
    starts: tuple[str, ...] = tuple(STARTS),
    reward: str = "sparse",
    explore: float = compare.EXPLORE,
    updates: int = UPDATES,
) -> list[dict[str, Any]]:
    mazes, starts = compare.checked("mazes", mazes, MAZES), compare.checked("starts", starts, tuple(STARTS))
    protocol: dict[str, Any] = {"reward": reward, "explore": explore, "updates": updates}
    return [
        _settings(budget, maze, start, goal, seed, protocol)
        for seed in range(n_seeds)
        for maze in (mazes[:1] if budget == "smoke" else mazes)
        for start in starts
        for goal in range(BUDGETS[budget]["goals"] or n_goals(maze))
    ]


def _settings(budget: str, maze: str, start: str, goal: int, seed: int, protocol: dict[str, Any]) -> dict[str, Any]:
    method, pretrained = STARTS[start]
    temperature = compare.TEMPERATURES[maze][method]
    before = compare.settings(budget, maze, method, temperature, seed, **protocol)
    name = f"{before['name']} {start} goal{goal}"
    shared = {entry: before[entry] for entry in ("maze", "method", "temperature", "seed", "max_steps")}
    settings = {"name": name, "start": start, "goal": goal} | shared | protocol | BUDGETS[budget]
    settings |= {"arguments": before["arguments"]}
    return settings | ({"needs": before} if pretrained else {})


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Train with all goals, and leave the model."""
    for segment in compare.train(settings, run):
        segment.rows.append({"cpu_seconds": segment.seconds})


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train for one goal, and return a row per evaluation; the first one is before training."""
    th.set_num_threads(1)
    method, maze, goals = METHODS[settings["method"]], settings["maze"], [settings["goal"]]
    envs = make_envs(maze, settings["reward"], goals, settings["max_steps"])

    def new() -> OffPolicyAlgorithm:
        model = new_model(method, envs, settings["temperature"], settings["seed"], **settings["arguments"])
        if "needs" in settings:
            cls: Any = algorithm_class(method.algorithm)
            model = checkpoint.load_model(cls, envs, needed(run.folder, settings) / "model", "cpu")
            model.num_timesteps = 0
        return model

    def row(model: OffPolicyAlgorithm, seconds: float) -> dict[str, Any]:
        seed = 10_000 + settings["seed"]
        episodes = play(model, maze, settings["episodes"], seed, goals=goals, max_steps=settings["max_steps"])
        measured = {"success": round(measures.success_rate(episodes.goals), 4), "cpu_seconds": round(seconds, 1)}
        key = {name: settings[name] for name in KEY[:-1]}
        return key | {"step": model.num_timesteps} | measured

    def begin() -> OffPolicyAlgorithm:
        model = new()
        fill_buffer(model, settings["fill"], settings["seed"])
        return model

    steps, every, seed = (settings[name] for name in ("steps", "every", "seed"))
    for segment in segments(run, method.algorithm, begin, envs, steps, every, seed, finished=_finished):
        segment.rows.append(row(segment.model, segment.seconds))
    return [row(new(), 0.0), *finished_rows(run.folder)]


def _finished(rows: list[dict[str, Any]]) -> bool:
    return bool(rows) and rows[-1]["success"] >= SUCCESS


def steps_needed(rows: Sequence[dict[str, str]]) -> float:
    """Return the number of steps until 90 % success; infinity for a training that did not get there.

    :param rows: The rows of one training.
    """
    return min((float(row["step"]) for row in rows if float(row["success"]) >= SUCCESS), default=float("inf"))


def by_training(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str], list[list[dict[str, str]]]]:
    """Return the rows of each training, by map and start."""
    trainings: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        trainings.setdefault(tuple(row[name] for name in KEY[:-1]), []).append(row)
    groups: dict[tuple[str, str], list[list[dict[str, str]]]] = {}
    for (maze, start, *_), training in trainings.items():
        groups.setdefault((maze, start), []).append(training)
    return groups


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    """Return means over goals and seeds; a training that did not get there counts with all its steps."""
    table: list[Row] = []
    for (maze, start), trainings in by_training(rows).items():
        needed_steps = [min(steps_needed(training), float(training[0]["steps"])) for training in trainings]
        table.append(
            {
                "maze": maze,
                "start": start,
                "trainings": len(trainings),
                "success_at_the_start": float(np.mean([float(training[0]["success"]) for training in trainings])),
                "steps_to_90_percent": float(np.mean(needed_steps)),
                "not_reached": sum(np.isinf(steps_needed(training)) for training in trainings),
            }
        )
    return table


def draw(results: Sequence[Result], path: Path) -> None:
    """Plot the success rate during training, mean over goals and seeds; after an early end, it stays constant."""
    from matplotlib.figure import Figure as Plot

    groups = by_training([row for result in results for row in result.rows])
    mazes = [maze for maze in MAZES if any(key[0] == maze for key in groups)]
    figure = Plot(figsize=(5 * len(mazes), 3.6), layout="constrained")
    axes = figure.subplots(1, len(mazes), squeeze=False)[0]
    for axis, maze in zip(axes, mazes, strict=True):
        for start in STARTS:
            if (maze, start) not in groups:
                continue
            curves = [
                ([float(row["step"]) for row in training], [float(row["success"]) for row in training])
                for training in groups[maze, start]
            ]
            steps = np.unique(np.concatenate([x for x, _ in curves]))
            mean = np.mean([np.interp(steps, x, y) for x, y in curves], axis=0)
            axis.plot(steps, mean, color=COLORS[start], label=LABELS[start])
        axis.axhline(SUCCESS, color="gray", linestyle="--", linewidth=1)
        axis.set(title=maze, xlabel="environment steps for one goal", ylabel="success rate", ylim=(0, 1.03))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    draw=draw,
    seeds={"smoke": 1, "quick": 1, "paper": 3},
    prepare=prepare,
    key=KEY,
)
