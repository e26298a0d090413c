"""One training of a benchmark: segments that each start afresh, an evaluation after each, checkpoints between them."""

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.common.critics import policy_with_critic
from ardae_rl.evaluation import evaluate
from ardae_rl.registry import algorithm_class, environment_id
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, versions, write_csv

EVALUATIONS, METRICS = "evaluations.csv", "metrics.csv"
_FIRST_EVALUATION_SEED = 10_000  # far from the training seeds


def train(settings: dict[str, Any], at: Run) -> str:
    """Train and evaluate; leaves tables of evaluations and of what the algorithm logged, and the model.

    Every segment of ``eval_freq`` steps begins with a reset environment and random numbers from its own seed. So a
    checkpoint at its end, of model and replay buffer, holds all that the next one needs, in any environment, and an
    interrupted training goes on to the same numbers.

    :param settings: of :func:`ardae_rl.grid.suites.grid`
    :param at: the run
    :return: a line about the end
    """
    model_file = at.folder / "model.zip"
    if model_file.exists() and not _checkpoints(at.folder):
        return f"{settings['name']}: was at its end"
    environment_id(settings["env"])  # in a worker, too, it is registered by this
    keep_freed_memory()
    tables = _Tables(at.folder)
    model = _load(settings, at.folder, tables) or _make(settings)
    every = settings["eval_freq"]
    for start in range(model.num_timesteps, settings["steps"], every):
        model.set_logger(Logger(folder=None, output_formats=[]))  # empty, as it is after a restart
        model.set_env(model.get_env(), force_reset=True)  # type: ignore[arg-type]
        model.set_random_seed(int(np.random.SeedSequence([settings["seed"], start]).generate_state(1)[0] >> 1))
        watch = _Watch(at, settings["steps"], tables.note())
        begin, updates = time.perf_counter(), model._n_updates
        model.learn(every, callback=watch, log_interval=None, reset_num_timesteps=False)  # type: ignore[arg-type]
        seconds = time.perf_counter() - begin
        tables.add(settings, model, seconds, model._n_updates - updates, watch.means())
        _save(model, tables, at.folder)
    model.save(model_file)
    for path in _checkpoints(at.folder):
        shutil.rmtree(path)
    return f"{settings['name']}: {tables.note()}"


def _make(settings: dict[str, Any]) -> OffPolicyAlgorithm:
    cls: Any = algorithm_class(settings["algorithm"])
    policy = policy_with_critic(cls.policy_aliases["MlpPolicy"], settings["critic"])
    model: OffPolicyAlgorithm = cls(policy, gym.make(settings["env"]), seed=settings["seed"], **settings["arguments"])
    return model


class _Tables:
    """Rows of the two tables, in memory and in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[dict[str, Any]]] = {EVALUATIONS: [], METRICS: []}

    def add(
        self, settings: dict[str, Any], model: OffPolicyAlgorithm, seconds: float, updates: int, means: dict[str, float]
    ) -> None:
        """Evaluate, and add what there is to say of a segment."""
        seed = _FIRST_EVALUATION_SEED + settings["seed"]  # the same first states each time: less noise between points
        result = evaluate(model, settings["env"], settings["eval_episodes"], seed, allow_wrappers=True)
        earlier = sum(row["wall_seconds"] for row in self.rows[EVALUATIONS][-1:])
        row = {name: settings[name] for name in ("env", "algo", "seed")} | {
            "step": model.num_timesteps,
            "mean_return": round(result.mean_return, 3),
            "std_return": round(result.std_return, 3),
            "mean_length": round(float(np.mean(result.lengths)), 1),
            "wall_seconds": round(earlier + seconds, 2),  # of training alone
            "updates_per_second": round(updates / seconds, 2),
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
        """The last evaluation, in a few words."""
        if not self.rows[EVALUATIONS]:
            return ""
        last = self.rows[EVALUATIONS][-1]
        return f"return {last['mean_return']:.1f} at {last['step']} steps, {last['updates_per_second']} updates/s"


def _same_columns(rows: list[dict[str, Any]]) -> list[Row]:
    """Random steps log nothing, so that rows may lack what later ones have."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in columns} for row in rows]


class _Watch(BaseCallback):
    """Moves the progress bar, and averages what the algorithm logs of its gradient steps."""

    def __init__(self, at: Run, total: int, note: str) -> None:
        super().__init__()
        self.at, self.total, self.note = at, total, note
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.count = 0

    def _on_step(self) -> bool:
        self.at.report(self.num_timesteps, self.total, self.note)
        logged = {name: value for name, value in self.logger.name_to_value.items() if name.startswith("train/")}
        self.count += bool(logged)
        for name, value in logged.items():
            self.sums[name.removeprefix("train/")] += float(value)
        return True

    def means(self) -> dict[str, float]:
        return {name: value / self.count for name, value in self.sums.items() if name != "n_updates"}


def _checkpoints(folder: Path) -> list[Path]:
    """Of least steps first."""
    return sorted(folder.glob("checkpoint_*"), key=lambda path: int(path.name.split("_")[1]))


def _save(model: OffPolicyAlgorithm, tables: _Tables, folder: Path) -> None:
    """Whole or not at all: written beside the last one, and then named."""
    old = _checkpoints(folder)
    new = folder / "unfinished_checkpoint"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    model.save(new / "model")
    model.save_replay_buffer(new / "replay_buffer")
    (new / "tables.json").write_text(json.dumps(tables.rows))
    new.rename(folder / f"checkpoint_{model.num_timesteps}")
    for path in old:
        shutil.rmtree(path)


def _load(settings: dict[str, Any], folder: Path, tables: _Tables) -> OffPolicyAlgorithm | None:
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        return None
    cls: Any = algorithm_class(settings["algorithm"])
    model: OffPolicyAlgorithm = cls.load(checkpoints[-1] / "model", env=gym.make(settings["env"]))
    model.load_replay_buffer(checkpoints[-1] / "replay_buffer")
    tables.rows = json.loads((checkpoints[-1] / "tables.json").read_text())
    return model
