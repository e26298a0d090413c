"""An SB3 algorithm in place of World Models' controller: trained on latents, evaluated on the official frames.

The option `folder` is a folder of ``ardae-rl world-model train``; its vision and memory are not trained further.
Training uses the fast renderer, without privileged information. The best policy on 16 held-out tracks becomes a policy
of frames, which is evaluated on 100 other tracks of the unmodified CarRacing-v3.

An interrupted training resumes with the remaining time, on other tracks, and keeps the best policy until another has a
higher return. Off-policy algorithms then first fill an empty replay buffer with random actions, as at the start.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from ardae_envs.patience import Patience
from ardae_rl.common.callbacks import StopAfter
from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.evaluation import evaluate
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.latent_control import PixelPolicy, WorldModelVecEnv
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import PPO_TRAINING, SELECTION_SEEDS, first_training_seed
from experiments.figure import Figure, needed
from experiments.world_model import TINY, base_settings
from experiments.world_model import make_model as make_world_model

ENV, TRAINING_ENV = "CarRacing-v3", "ardae/CarRacingFast-v0"
_OFF_POLICY: dict[str, Any] = {"buffer_size": 300_000, "learning_starts": 5000, "train_freq": 1, "gradient_steps": 1}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ppo": {
        "n_steps": 128,
        "batch_size": 256,
        "learning_rate": 2e-4,
        "policy_kwargs": {"net_arch": [256, 256], "log_std_init": -0.5},
    },
    "sac": _OFF_POLICY,
    "tqc": _OFF_POLICY,
    "sac_ardae": _OFF_POLICY,
}
KEY = ("env", "algo", "folder", "seed", "minutes")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"minutes": 0.05, "episodes": 1, "n_envs": 2},
    "quick": {"minutes": 60.0, "episodes": 100, "n_envs": 16},
}
_PATIENCE = 25  # decisions
_EVALUATED = 16
_SEED = 10_000  # of the first track of the evaluation


def runs(
    budget: str,
    n_seeds: int,
    *,
    algo: str = "ppo",
    minutes: float | None = None,
    folder: str = "runs/world_models/CarRacing-v3",
) -> list[dict[str, Any]]:
    """Return one run per seed; the smallest budget trains a world model itself."""
    check_choice("algo", algo, ARGUMENTS)
    sizes = BUDGETS[budget] | ({} if minutes is None else {"minutes": minutes})
    check_positive("minutes", sizes["minutes"])
    if budget == "smoke":
        source: dict[str, Any] = {"needs": base_settings(ENV, 0, TINY)}
    else:
        source = {"model": str((Path(folder) / "model.zip").resolve())}
        if not Path(source["model"]).exists():
            raise ValueError(f"`folder` must have a model.zip of `ardae-rl world-model train`, got {folder!r}")
    return [
        {"name": f"{algo} {sizes['minutes']:g} seed{seed} {folder}", "env": ENV, "algo": algo, "folder": folder}
        | {"seed": seed}
        | sizes
        | source
        for seed in range(n_seeds)
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Train a small world model."""
    model = make_world_model(settings, run.folder)
    model.learn(1)
    model.save(run.folder / "model.zip")


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one agent on latents, and evaluate it on frames."""
    path = needed(run.folder, settings) / "model.zip" if "needs" in settings else settings["model"]
    world_model = WorldModels.load(path, device="cpu")
    policy, algo, n_envs = world_model.policy, settings["algo"], settings["n_envs"]
    best = train(policy, algo, run.folder, settings["minutes"], n_envs, settings["seed"])
    cls: Any = algorithm_class(algo)
    agent: BaseAlgorithm = cls.load(best, device="cpu")
    pixel_policy = PixelPolicy(policy, agent.policy)
    pixel_policy.save(str(run.folder / "pixel_policy.pt"))
    result = evaluate(pixel_policy, ENV, settings["episodes"], _SEED, n_envs=n_envs)
    last: BaseAlgorithm = cls.load(run.folder / "model", device="cpu")
    low, high = result.interval
    figures = {"mean_return": result.mean_return, "std_return": result.std_return, "low": low, "high": high}
    row = {name: settings[name] for name in KEY}
    row |= {
        "steps": last.num_timesteps * policy.action_repeat,
        "best_after": agent.num_timesteps * policy.action_repeat,
    }
    row |= {"world_model_steps": world_model.num_timesteps, "episodes": settings["episodes"]}
    return [row | {name: round(value, 1) for name, value in figures.items()}]


def make_env(action_repeat: int, patience: int | None) -> gym.Env[Any, Any]:
    env = make_repeating(TRAINING_ENV, action_repeat)
    return Monitor(env if patience is None else Patience(env, patience))


def make_venv(policy: WorldModelPolicy, n_envs: int, training: bool) -> VecNormalize:
    makes: list[Callable[[], gym.Env[Any, Any]]] = [
        partial(make_env, policy.action_repeat, _PATIENCE if training else None)
    ] * n_envs
    venv = SubprocVecEnv(makes)
    return VecNormalize(WorldModelVecEnv(venv, policy), training, norm_obs=False, norm_reward=training)


class Checkpoints(BaseCallback):
    """Save the model, the reward statistics and the training time so far, every ``every`` calls."""

    def __init__(self, folder: Path, venv: VecNormalize, seconds_before: float, every: int = 2000) -> None:
        super().__init__()
        self.folder, self.venv, self.every = folder, venv, every
        self.start = time.monotonic() - seconds_before

    def _on_step(self) -> bool:
        if self.n_calls % self.every == 0:
            self.save()
        return True

    def save(self) -> None:
        self.model.save(self.folder / "model")
        self.venv.save(str(self.folder / "rewards.pkl"))
        (self.folder / "time.json").write_text(json.dumps({"seconds": time.monotonic() - self.start}))


class Selection(EvalCallback):
    """Keep the best policy on the same held-out tracks at every evaluation, even after an interruption."""

    def __init__(self, env: VecNormalize, folder: Path, eval_freq: int) -> None:
        super().__init__(env, n_eval_episodes=_EVALUATED, eval_freq=eval_freq, best_model_save_path=str(folder))
        self.record = folder / "best.json"
        if self.record.exists():
            self.best_mean_reward = json.loads(self.record.read_text())["mean_reward"]

    def _on_step(self) -> bool:
        if self.n_calls % self.eval_freq == 0:
            self.eval_env.seed(SELECTION_SEEDS.start)  # a vector environment forgets its seed after one reset
        before = self.best_mean_reward
        goes_on = super()._on_step()
        if self.best_mean_reward > before:
            self.record.write_text(json.dumps({"mean_reward": self.best_mean_reward}))
        return goes_on


def train(policy: WorldModelPolicy, algo: str, folder: Path, minutes: float, n_envs: int, seed: int) -> Path:
    """Train, or resume training, and return the path of the best policy."""
    venv, evaluated = (make_venv(policy, n_envs, training) for training in (True, False))
    cls: Any = algorithm_class(algo)
    before = 0.0
    if (folder / "time.json").exists():
        before = json.loads((folder / "time.json").read_text())["seconds"]
        venv = VecNormalize.load(str(folder / "rewards.pkl"), venv.venv)
        model: BaseAlgorithm = cls.load(folder / "model", env=venv, device="cpu")
        first = first_training_seed(seed, PPO_TRAINING, model.num_timesteps)  # not the same tracks again
        model.set_random_seed(first)
        if isinstance(model, OffPolicyAlgorithm):
            model.learning_starts = model.num_timesteps + ARGUMENTS[algo]["learning_starts"]  # its buffer is empty
    else:
        first = first_training_seed(seed, PPO_TRAINING, 0)
        model = cls("MlpPolicy", venv, seed=first, device="cpu", tensorboard_log=str(folder), **ARGUMENTS[algo])
    checkpoints = Checkpoints(folder, venv, before)
    best = Selection(evaluated, folder, max(1, 50_000 // n_envs))
    callbacks = [checkpoints, best, StopAfter(60 * minutes - before)]
    model.learn(10**9, callbacks, reset_num_timesteps=not before, progress_bar=False, tb_log_name=algo)
    checkpoints.save()
    venv.close()
    evaluated.close()
    return folder / ("best_model.zip" if (folder / "best_model.zip").exists() else "model.zip")


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("algo", "seed", "minutes", "steps", "mean_return", "std_return", "low", "high"),
    seeds={"smoke": 1, "quick": 1},
    prepare=prepare,
    key=KEY,
)
