"""Train on Pendulum, look at the result: the package's smallest whole."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor

from ardae_rl.common.optional import require
from ardae_rl.evaluation import Evaluation, evaluate
from ardae_rl.plotting import learning_curves

ENV_ID = "Pendulum-v1"


def demo(out: str | Path = "runs/demo", seed: int = 0, timesteps: int = 5_000) -> Evaluation:
    """Train on Pendulum-v1 and write ``model.zip``, ``learning_curve.png`` and ``evaluation.json`` into ``out``.

    :raises ValueError: for fewer time steps than one episode
    """
    if timesteps < 200:
        raise ValueError(f"--timesteps: got {timesteps}; accepted: 200 (one episode) or more")
    from ardae_rl.sac_ardae import SACARDAE

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
