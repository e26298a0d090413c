"""An SB3 algorithm in place of World Models' controller: trained on latents, evaluated on the official frames.

    python -m experiments.latent_control [--algo ppo] [--minutes 60] [--folder runs/world_models]

The folder is one of ``ardae-rl world-model train``, whose vision and memory are used as they are. Training is on the
fast renderer, without privileged information; the best of its policies on 16 held-out tracks becomes one of frames,
evaluated on 100 other tracks of the unmodified CarRacing-v3. An interrupted run goes on with the time that is left.
Written to results/latent_control.csv.
"""

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

from ardae_envs.patience import Patience
from ardae_rl.common.callbacks import StopAfter
from ardae_rl.evaluation import evaluate
from ardae_rl.registry import algorithm_class
from ardae_rl.runs.tables import merge_csv, print_table, versions
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.latent_control import WorldModelVecEnv, export_pixel_policy
from ardae_rl.world_models.policies import WorldModelPolicy
from experiments.common import RESULTS, RUNS

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
_PATIENCE = 25  # decisions
_EVALUATED = 16
_SEED = 10_000  # of the first track of the evaluation


def make_env(action_repeat: int, patience: int | None) -> gym.Env[Any, Any]:
    env = make_repeating(TRAINING_ENV, action_repeat)
    return Monitor(env if patience is None else Patience(env, patience))


def make_venv(policy: WorldModelPolicy, n_envs: int, training: bool, seed: int) -> VecNormalize:
    makes = [partial(make_env, policy.action_repeat, _PATIENCE if training else None)] * n_envs
    venv = SubprocVecEnv(makes)
    venv.seed(seed)
    return VecNormalize(WorldModelVecEnv(venv, policy), training, norm_obs=False, norm_reward=training)


class Checkpoints(BaseCallback):
    """Model, reward statistics and time so far, every so many calls."""

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


def train(policy: WorldModelPolicy, algo: str, folder: Path, minutes: float, n_envs: int, seed: int) -> Path:
    """Train, or go on; where the best policy is."""
    folder.mkdir(parents=True, exist_ok=True)
    venv, evaluated = (make_venv(policy, n_envs, training, seed + 1000 * training) for training in (True, False))
    cls: Any = algorithm_class(algo)
    before = 0.0
    if (folder / "time.json").exists():
        before = json.loads((folder / "time.json").read_text())["seconds"]
        venv = VecNormalize.load(str(folder / "rewards.pkl"), venv.venv)
        model: BaseAlgorithm = cls.load(folder / "model", env=venv, device="cpu")
    else:
        model = cls("MlpPolicy", venv, seed=seed, device="cpu", tensorboard_log=str(folder), **ARGUMENTS[algo])
    checkpoints = Checkpoints(folder, venv, before)
    best = EvalCallback(
        evaluated, n_eval_episodes=_EVALUATED, eval_freq=max(1, 50_000 // n_envs), best_model_save_path=str(folder)
    )
    callbacks = [checkpoints, best, StopAfter(60 * minutes - before)]
    model.learn(10**9, callbacks, reset_num_timesteps=not before, progress_bar=False, tb_log_name=algo)
    checkpoints.save()
    venv.close()
    evaluated.close()
    return folder / ("best_model.zip" if (folder / "best_model.zip").exists() else "model.zip")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=list(ARGUMENTS), default="ppo")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of training, those before an interruption included"
    )
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--n-envs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=RUNS / "world_models")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    world_model = WorldModels.load(options.folder / "model.zip", device="cpu")
    policy = world_model.policy
    folder = options.folder / f"{options.algo}_{options.seed}"
    best = train(policy, options.algo, folder, options.minutes, options.n_envs, options.seed)
    cls: Any = algorithm_class(options.algo)
    agent: BaseAlgorithm = cls.load(best, device="cpu")
    pixel_policy = export_pixel_policy(agent, policy)
    pixel_policy.save(str(folder / "pixel_policy.pt"))
    th.set_num_threads(1)
    result = evaluate(pixel_policy, ENV, options.episodes, _SEED, n_envs=options.n_envs)
    last: BaseAlgorithm = cls.load(folder / "model", device="cpu")
    low, high = result.interval
    figures = {"mean_return": result.mean_return, "std_return": result.std_return, "low": low, "high": high}
    row = {"env": ENV, "algo": options.algo, "seed": options.seed, "minutes": options.minutes}
    row |= {
        "steps": last.num_timesteps * policy.action_repeat,
        "best_after": agent.num_timesteps * policy.action_repeat,
    }
    row |= {"world_model_steps": world_model.num_timesteps, "episodes": options.episodes}
    row |= {name: round(value, 1) for name, value in figures.items()} | versions()
    merge_csv(options.out / "latent_control.csv", [row], ("env", "algo", "seed", "minutes"))
    print_table([row], ENV)


if __name__ == "__main__":
    main()
