"""E2C on the tasks of PC3 (Shu et al. 2020): the share of steps in the goal, for several trained models.

    python -m benchmarks.e2c_control [--tasks planar] [--variants plain,options] [--models 5] [--jobs 2]

Each model is trained on random steps from anywhere, then plans ten tasks of the official environment from pictures
alone. Beside the share of steps in the goal: how well the state follows from the latent's mean (R² of a quadratic
regression on pictures that training has not seen; of all, and of those that do not look empty, as the planar task's do
where the point is under an obstacle), and the divergence of the posterior from the prior, which a collapse would make
0. Written to results/e2c_control.csv, a row for each model; results/e2c_control/ has pictures of each first one.
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
from ardae_rl.common.runs import Run
from ardae_rl.common.tables import versions, write_csv
from ardae_rl.experiments.dvbf_pixels import explained
from ardae_rl.latent import E2C
from ardae_rl.latent.e2c_policy import as_pictures
from ardae_rl.latent.gaussians import kl_to_standard
from ardae_rl.latent.pictures import draw
from benchmarks.common import RESULTS, check_names, run_folder, table_of_runs

TASKS: dict[str, dict[str, Any]] = {
    "planar": {"env": "ardae/PlanarObstacles-v0", "env_kwargs": {}, "steps": 5000, "z_dim": 2},
    "balance": {"env": "ardae/PendulumPixels-v0", "env_kwargs": {"task": "balance"}, "steps": 20_000, "z_dim": 3},
    "swing_up": {"env": "ardae/PendulumPixels-v0", "env_kwargs": {"task": "swing_up"}, "steps": 20_000, "z_dim": 3},
}
# The loss of Watter et al. (2015), and with what has been added since
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "options": {"contrastive_weight": 100.0, "policy_kwargs": {"blur": 6.0}},
}
_EPISODES, _HELD_OUT = 10, 2000
folder = partial(run_folder, "e2c_control")


def settings_of(task: str, variant: str, seed: int, gradient_steps: int) -> dict[str, Any]:
    return {
        "name": f"{task} {variant} {seed}",
        "task": task,
        "variant": variant,
        "seed": seed,
        "gradient_steps": gradient_steps,
        "arguments": VARIANTS[variant],
    } | TASKS[task]


def run(settings: dict[str, Any], at: Run) -> str:
    """Train a model, leave it and its numbers in the folder."""
    start = time.monotonic()
    everywhere, arguments = gym.make(settings["env"], start="anywhere"), dict(settings["arguments"])
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
    model.save(at.folder / "model")
    trained = time.monotonic() - start
    env = DummyVecEnv([lambda: Monitor(gym.make(settings["env"], **settings["env_kwargs"]))] * _EPISODES)
    env.seed(10_000 + settings["seed"])
    returns, lengths = evaluate_policy(model, env, _EPISODES, return_episode_rewards=True)
    share = float(np.sum(returns) / np.sum(lengths))
    figures = {"share_in_goal": round(share, 4)} | measures(model, everywhere)
    times = {"training_seconds": round(trained), "evaluation_seconds": round(time.monotonic() - start - trained)}
    settled = {name: settings[name] for name in ("task", "variant", "seed", "steps", "gradient_steps")}
    write_csv(at.folder / "row.csv", [settled | figures | times | versions()])
    return f"{settings['name']}: {100 * share:.1f} % of steps in the goal"


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
    parser.add_argument("--tasks", default="planar", help=f"of {', '.join(TASKS)}, separated by commas")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--gradient-steps", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    tasks = check_names(parser, "--tasks", options.tasks, TASKS)
    variants = check_names(parser, "--variants", options.variants, VARIANTS)
    runs = [
        settings_of(task, variant, seed, options.gradient_steps)
        for task in tasks
        for variant in variants
        for seed in range(options.models)
    ]
    shown = ("task", "variant", "seed", "share_in_goal", "r2", "r2_seen", "kl_prior", "training_seconds")
    table = options.out / "e2c_control.csv"
    for settings in table_of_runs(run, folder, runs, options.jobs, table, ("task", "variant", "seed"), shown):
        if settings["seed"] == 0:
            model = E2C.load(folder(settings) / "model", device="cpu")
            everywhere = gym.make(settings["env"], start="anywhere")
            task = gym.make(settings["env"], **settings["env_kwargs"])
            draw(model, everywhere, task, table.with_suffix("") / f"{settings['task']}_{settings['variant']}")


if __name__ == "__main__":
    main()
