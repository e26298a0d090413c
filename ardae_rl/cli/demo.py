"""A complete example: train on Pendulum-v1, draw the learning curve, evaluate."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor

from ardae_rl.common.checks import check_count, check_seed
from ardae_rl.common.optional import require
from ardae_rl.evaluation import Evaluation, evaluate
from ardae_rl.plotting import learning_curves
from ardae_rl.sac_ardae import SACARDAE

ENV_ID = "Pendulum-v1"
_EPISODE_STEPS = 200  # fewer would leave nothing to draw


def demo(out: str | Path = "runs/demo", seed: int = 0, timesteps: int = 5_000) -> Evaluation:
    """Train on Pendulum-v1 and write ``model.zip``, ``learning_curve.png`` and ``evaluation.json``.

    :param out: Folder for the files.
    :param seed: Seed of training and evaluation.
    :param timesteps: Number of environment steps to train for.
    :raises ValueError: For fewer time steps than one episode has, or a seed out of range.
    """
    check_count("timesteps", timesteps, _EPISODE_STEPS)
    check_seed(seed)
    require("matplotlib", "plots")  # before the training, not after it
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    env = Monitor(gym.make(ENV_ID), str(out / "monitor.csv"))
    model = SACARDAE("MlpPolicy", env, seed=seed)
    model.learn(timesteps, progress_bar=True)
    env.close()
    model.save(out / "model.zip")
    learning_curves([out], window=10).savefig(out / "learning_curve.png", dpi=150)
    result = evaluate(model, ENV_ID, n_episodes=20, seed=seed)
    result.write(out / "evaluation.json")
    return result
