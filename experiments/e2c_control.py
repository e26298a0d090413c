"""E2C on the tasks of PC3 (Shu et al. 2020): the share of steps in the goal, for several trained models.

    python -m experiments.e2c_control [--data planar,pendulum] [--variants plain,options] [--models 5] [--jobs 2]

Each model is trained on random steps from anywhere, then plans ten tasks of the official environment from pictures
alone, the pendulum's both ten times balancing and ten times swinging up. Beside the share of steps in the goal: how
well the state follows from the latent's mean (R² of a quadratic regression on pictures that training has not seen; of
all, and of those that do not look empty, as the planar task's do where the point is under an obstacle), and the
divergence of the posterior from the prior, which a collapse would make 0. Written to results/e2c_control.csv, a row
for each model and task; results/e2c_control/ has pictures of each first model.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import ardae_envs  # noqa: F401 (registers the environments)
from ardae_envs.start_anywhere import StartAnywhere
from ardae_rl.common.gaussians import kl_to_standard
from ardae_rl.e2c import E2C
from ardae_rl.e2c.plots import draw
from ardae_rl.e2c.policies import as_pictures
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import versions, write_csv
from experiments.common import RESULTS, check_names, run_folder, table_of_runs
from experiments.state_space.dvbf_pixels import explained

# What models are trained on, and the tasks that each then has
DATA: dict[str, dict[str, Any]] = {
    "planar": {
        "env": "ardae/PlanarObstacles-v0",
        "tasks": {"planar": {}},
        "episode_steps": None,
        "steps": 5000,
        "gradient_steps": 3000,
        "z_dim": 2,
    },
    "pendulum": {
        "env": "ardae/PendulumPixels-v0",
        "tasks": {"balance": {"task": "balance"}, "swing_up": {"task": "swing_up"}},
        "episode_steps": 5,  # in more of them, random actions would leave it hanging
        "steps": 20_000,
        "gradient_steps": 2000,
        "z_dim": 3,
    },
}
# The loss of Watter et al. (2015), and with what has been added since. Two pictures show the pendulum's speed over the
# step before, which has only half of the last action in it: with single steps, actions would seem half as strong.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {"planar": {}, "pendulum": {}},
    "options": {
        "planar": {"contrastive_weight": 100.0, "policy_kwargs": {"blur": 10.0}},
        "pendulum": {
            "contrastive_weight": 100.0,
            "sequence_length": 3,
            "policy_kwargs": {"blur": 10.0, "sharp": 0.0, "motion": 6.0},
        },
    },
}
_EPISODES, _HELD_OUT = 10, 2000
folder = partial(run_folder, "e2c_control")


def settings_of(data: str, variant: str, seed: int) -> dict[str, Any]:
    arguments = VARIANTS[variant][data]
    name = f"{data} {variant} {seed}"
    return {"name": name, "data": data, "variant": variant, "seed": seed, "arguments": arguments} | DATA[data]


def run(settings: dict[str, Any], run: Run) -> str:
    """Train a model, leave it and its numbers in the folder."""
    start = time.monotonic()
    everywhere, arguments = training_env(settings), dict(settings["arguments"])
    model = E2C(
        "MultiInputPolicy",
        everywhere,
        n_collected=settings["steps"],
        gradient_steps=settings["gradient_steps"],
        seed=settings["seed"],
        device="cpu",
        policy_kwargs={"z_dim": settings["z_dim"], "seed": settings["seed"]} | arguments.pop("policy_kwargs", {}),
        **arguments,
    )
    model.learn(settings["steps"])
    model.save(run.folder / "model")
    trained = time.monotonic() - start
    settled = {name: settings[name] for name in ("variant", "seed", "steps", "gradient_steps")}
    latent, rows = measures(model, everywhere), []
    for task, env_kwargs in settings["tasks"].items():
        start = time.monotonic()
        share = share_in_goal(model, settings["env"], env_kwargs, 10_000 + settings["seed"])
        times = {"training_seconds": round(trained), "evaluation_seconds": round(time.monotonic() - start)}
        rows.append({"task": task} | settled | {"share_in_goal": round(share, 4)} | latent | times | versions())
    write_csv(run.folder / "row.csv", rows)
    shares = ", ".join(f"{row['task']} {100 * row['share_in_goal']:.1f} %" for row in rows)
    return f"{settings['name']}, steps in the goal: {shares}"


def training_env(settings: dict[str, Any]) -> gym.Env[Any, Any]:
    return StartAnywhere(gym.make(settings["env"]), settings["episode_steps"])


def share_in_goal(model: E2C, env_id: str, env_kwargs: dict[str, Any], seed: int) -> float:
    """Of the steps of ten episodes side by side."""
    env = DummyVecEnv([lambda: Monitor(gym.make(env_id, **env_kwargs))] * _EPISODES)
    env.seed(seed)
    returns, lengths = evaluate_policy(model, env, _EPISODES, return_episode_rewards=True)
    return float(np.sum(returns) / np.sum(lengths))


@th.no_grad()
def measures(model: E2C, env: gym.Env[Any, Any]) -> dict[str, float]:
    """Of the latent, on fresh states from anywhere."""
    pictures, states = [], []
    for seed in range(_HELD_OUT):
        observation, info = env.reset(seed=2**20 + seed)
        pictures.append(observation["observation"])
        states.append(state_of(info))
    x, y = np.stack(pictures), np.stack(states)
    mean, log_std = model.policy.encoder(as_pictures(th.as_tensor(x).permute(0, 3, 1, 2)))
    empty = x.min(0)  # what all pictures have in common
    seen = (x != empty).any((1, 2, 3))
    r2 = {"r2": quadratic_r2(mean.numpy(), y), "r2_seen": quadratic_r2(mean.numpy()[seen], y[seen])}
    kl = float(kl_to_standard(mean, log_std).mean())
    return {name: round(value, 4) for name, value in r2.items()} | {"kl_prior": round(kl, 3)}


def state_of(info: dict[str, Any]) -> NDArray[np.float64]:
    """The position, or sine and cosine of the angle."""
    if "position" in info:
        return np.asarray(info["position"])
    return np.array([np.sin(info["state"][0]), np.cos(info["state"][0])])


def quadratic_r2(z: NDArray[Any], states: NDArray[np.float64]) -> float:
    """R² of states from latents and their products, the least over dimensions; half of the rows are held out."""
    half, z = len(z) // 2, np.asarray(z, np.float64)
    return min(explained((z[:half], states[:half]), (z[half:], states[half:]), degree=2))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    data = check_names(parser, "--data", options.data, DATA)
    variants = check_names(parser, "--variants", options.variants, VARIANTS)
    runs = [settings_of(name, variant, seed) for name in data for variant in variants for seed in range(options.models)]
    shown = ("task", "variant", "seed", "share_in_goal", "r2", "r2_seen", "kl_prior", "training_seconds")
    table = options.out / "e2c_control.csv"
    for settings in table_of_runs(run, folder, runs, options.jobs, table, ("task", "variant", "seed"), shown):
        if settings["seed"] == 0:
            model = E2C.load(folder(settings) / "model", device="cpu")
            task = gym.make(settings["env"], **list(settings["tasks"].values())[-1])
            pictures = table.with_suffix("") / f"{settings['data']}_{settings['variant']}"
            draw(model, training_env(settings), task, pictures)


if __name__ == "__main__":
    main()
