"""One training run of a benchmark, in segments, each followed by an evaluation and a checkpoint."""

import copy
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.evaluation import evaluate
from ardae_rl.grid import checkpoint
from ardae_rl.grid.environment import keep_environment
from ardae_rl.grid.segment import start_segment
from ardae_rl.registry import algorithm_class, environment_id, imported
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, versions, write_csv

EVALUATIONS, METRICS = "evaluations.csv", "metrics.csv"
_FIRST_EVALUATION_SEED = 10_000  # far from the training seeds


def train(settings: dict[str, Any], run: Run) -> str:
    """Train and evaluate, and leave the model and tables of evaluations and logged quantities in the run's folder.

    Every segment of ``eval_freq`` steps begins with a reset environment and a seed of its own. The checkpoint of model
    and replay buffer at its end is therefore all that the next segment needs, in any environment, and an interrupted
    training run ends with the same numbers as an uninterrupted one.

    :param settings: Settings from :func:`ardae_rl.grid.suites.grid`.
    :param run: The run.
    :return: A line about the result.
    """
    model_file = run.folder / "model.zip"
    if model_file.exists() and not checkpoint.checkpoints(run.folder):
        return f"{settings['name']}: was complete"
    environment_id(settings["env"])  # registers it, which a worker needs, too
    keep_environment(run.folder, settings["env"])
    keep_freed_memory()
    tables = _Tables(run.folder)
    model = _resumed(settings, run.folder, tables) or _new_model(settings)
    every = settings["eval_freq"]
    for _ in range(model.num_timesteps, settings["steps"], every):
        start_segment(model, settings["seed"])
        watch = _Watch(run, settings["steps"], tables.note())
        begin, cpu_begin, updates = time.perf_counter(), time.process_time(), model._n_updates
        model.learn(every, callback=watch, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        seconds = {"wall_seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu_begin}
        tables.add(settings, model, seconds, model._n_updates - updates, watch.means())
        checkpoint.save(model, tables.rows, run.folder)
    model.save(model_file)
    for path in checkpoint.checkpoints(run.folder):
        checkpoint.delete(path)
    return f"{settings['name']}: {tables.note()}"


def _new_model(settings: dict[str, Any]) -> OffPolicyAlgorithm:
    cls: Any = algorithm_class(settings["algorithm"])
    policy = imported(settings["policy"]) if ":" in settings["policy"] else settings["policy"]
    # Copied because SB3 adds entries to the policy_kwargs that it is given, and the settings are recorded
    arguments = copy.deepcopy(settings["arguments"])
    model: OffPolicyAlgorithm = cls(policy, gym.make(settings["env"]), seed=settings["seed"], **arguments)
    return model


def _resumed(settings: dict[str, Any], folder: Path, tables: "_Tables") -> OffPolicyAlgorithm | None:
    """Return the model of the last checkpoint, if there is one, and set the tables to those of that time."""
    found = checkpoint.checkpoints(folder)
    if not found:
        return None
    cls: Any = algorithm_class(settings["algorithm"])
    model, tables.rows = checkpoint.load(cls, settings["env"], found[-1], settings["arguments"].get("device", "auto"))
    return model


class _Tables:
    """The rows of the two tables, in memory and in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[dict[str, Any]]] = {EVALUATIONS: [], METRICS: []}

    def add(
        self,
        settings: dict[str, Any],
        model: OffPolicyAlgorithm,
        seconds: dict[str, float],
        updates: int,
        means: dict[str, float],
    ) -> None:
        """Evaluate the model, and add the rows of a segment.

        :param settings: Settings of the run.
        :param model: The model.
        :param seconds: Durations of the segment's training, without the evaluation, by column.
        :param updates: Number of gradient steps in the segment.
        :param means: Means of the logged quantities.
        """
        # All evaluations of a run have the same initial states, for less noise between them; each seed has its own
        seed = _FIRST_EVALUATION_SEED + settings["eval_episodes"] * settings["seed"]
        result = evaluate(model, settings["env"], settings["eval_episodes"], seed, allow_wrappers=True)
        earlier = self.rows[EVALUATIONS][-1] if self.rows[EVALUATIONS] else dict.fromkeys(seconds, 0)
        row = {name: settings[name] for name in ("env", "algo", "seed")} | {
            "step": model.num_timesteps,
            "mean_return": round(result.mean_return, 3),
            "std_return": round(result.std_return, 3),
            "mean_length": round(float(np.mean(result.lengths)), 1),
            **{name: round(earlier[name] + value, 2) for name, value in seconds.items()},
            "updates_per_second": round(updates / seconds["wall_seconds"], 2),
        }
        self.rows[EVALUATIONS].append(row | versions())
        self.rows[METRICS].append(
            {"step": model.num_timesteps} | {name: f"{means[name]:.5g}" for name in sorted(means)}
        )
        self.write()

    def write(self) -> None:
        for name, rows in self.rows.items():
            write_csv(self.folder / name, _same_columns(rows))

    def note(self) -> str:
        """Return the last evaluation in a few words."""
        if not self.rows[EVALUATIONS]:
            return ""
        last = self.rows[EVALUATIONS][-1]
        return f"return {last['mean_return']:.1f} at {last['step']} steps, {last['updates_per_second']} updates/s"


def _same_columns(rows: list[dict[str, Any]]) -> list[Row]:
    """Return the rows with the union of their columns; segments of random steps, for example, log fewer quantities."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in columns} for row in rows]


class _Watch(BaseCallback):
    """Moves the progress bar, and averages the quantities that the algorithm logs for its gradient steps."""

    def __init__(self, run: Run, total: int, note: str) -> None:
        super().__init__()
        self.run, self.total, self.note = run, total, note
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.count = 0

    def _on_step(self) -> bool:
        self.run.report(self.num_timesteps, self.total, self.note)
        logged = {name: value for name, value in self.logger.name_to_value.items() if name.startswith("train/")}
        self.count += bool(logged)
        for name, value in logged.items():
            self.sums[name.removeprefix("train/")] += float(value)
        return True

    def means(self) -> dict[str, float]:
        return {name: value / self.count for name, value in self.sums.items() if name != "n_updates"}
