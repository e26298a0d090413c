"""E2C on the tasks of PC3 (Shu et al. 2020): the fraction of steps in the goal, for several trained models.

Each model is trained on random steps from random states, then plans ten episodes of the official environment from
images alone; the pendulum has two tasks, to balance and to swing up. Besides the fraction of steps in the goal, the
table shows how well the latent's mean determines the state: R² of a quadratic regression on images that training has
not seen, for all of them, and without those that look empty (in the planar task, the point may be under an obstacle).
It also has the divergence of the posterior from the prior, which would be 0 after a collapse. Plots of the first model
of each kind are in e2c_control/ next to the table.
"""

import time
from collections.abc import Sequence
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
from ardae_rl.common.checks import check_choice
from ardae_rl.common.gaussians import kl_to_standard
from ardae_rl.e2c import E2C
from ardae_rl.e2c.plots import draw
from ardae_rl.e2c.policies import as_images
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure, Result
from experiments.state_space.dvbf_pixels import explained

# Where models are trained, and the tasks in which each of them is evaluated
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
        "episode_steps": 5,  # longer episodes of random actions would mostly see it hang
        "steps": 20_000,
        "gradient_steps": 2000,
        "z_dim": 3,
    },
}
# The loss of Watter et al. (2015), and the same loss with later additions. Two images show the pendulum's mean speed
# during the last step, with half of the last action's effect: in single steps, actions would seem half as strong.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {"planar": {}, "pendulum": {}},
    "options": {
        "planar": {"loss_kwargs": {"contrastive_weight": 100.0}, "policy_kwargs": {"blur": 10.0}},
        "pendulum": {
            "loss_kwargs": {"contrastive_weight": 100.0},
            "sequence_length": 3,
            "policy_kwargs": {"blur": 10.0, "sharp": 0.0, "motion": 6.0},
        },
    },
}
KEY = ("task", "variant", "seed", "steps", "gradient_steps")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 20, "gradient_steps": 2, "episodes": 1, "held_out": 40},
    "quick": {"episodes": 10, "held_out": 2000},  # steps: see DATA
}


def runs(
    budget: str, n_seeds: int, *, data: tuple[str, ...] = tuple(DATA), variants: tuple[str, ...] = tuple(VARIANTS)
) -> list[dict[str, Any]]:
    for name in data:
        check_choice("data", name, DATA)
    for variant in variants:
        check_choice("variants", variant, VARIANTS)
    return [
        {"name": f"{name} {variant} {seed}", "data": name, "variant": variant, "seed": seed}
        | {"arguments": VARIANTS[variant][name]}
        | DATA[name]
        | BUDGETS[budget]
        for name in data
        for variant in variants
        for seed in range(n_seeds)
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train and evaluate one model; return a row per task."""
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
    key = {name: settings[name] for name in KEY[1:]}
    latent = measures(model, everywhere, settings["held_out"])
    rows: list[Row] = []
    for task, env_kwargs in settings["tasks"].items():
        start = time.monotonic()
        share = share_in_goal(model, settings["env"], env_kwargs, settings["episodes"], 10_000 + settings["seed"])
        times = {"training_seconds": round(trained), "evaluation_seconds": round(time.monotonic() - start)}
        rows.append({"task": task} | key | {"share_in_goal": round(share, 4)} | latent | times)
    return rows


def training_env(settings: dict[str, Any]) -> gym.Env[Any, Any]:
    return StartAnywhere(gym.make(settings["env"]), settings["episode_steps"])


def share_in_goal(model: E2C, env_id: str, env_kwargs: dict[str, Any], episodes: int, seed: int) -> float:
    """Return the fraction of steps in the goal, over simultaneous episodes."""
    env = DummyVecEnv([lambda: Monitor(gym.make(env_id, **env_kwargs))] * episodes)
    env.seed(seed)
    returns, lengths = evaluate_policy(model, env, episodes, return_episode_rewards=True)
    return float(np.sum(returns) / np.sum(lengths))


@th.no_grad()
def measures(model: E2C, env: gym.Env[Any, Any], n: int) -> dict[str, float]:
    """Measure the latent on n new states."""
    images, states = [], []
    for seed in range(n):
        observation, info = env.reset(seed=2**20 + seed)
        images.append(observation["observation"])
        states.append(state_of(info))
    x, y = np.stack(images), np.stack(states)
    mean, log_std = model.policy.encoder(as_images(th.as_tensor(x).permute(0, 3, 1, 2)))
    empty = x.min(0)  # the background, without the object
    seen = (x != empty).any((1, 2, 3))
    r2 = {"r2": quadratic_r2(mean.numpy(), y), "r2_seen": quadratic_r2(mean.numpy()[seen], y[seen])}
    kl = float(kl_to_standard(mean, log_std).mean())
    return {name: round(value, 4) for name, value in r2.items()} | {"kl_prior": round(kl, 3)}


def state_of(info: dict[str, Any]) -> NDArray[np.float64]:
    """Return the position, or the sine and cosine of the angle."""
    if "position" in info:
        return np.asarray(info["position"])
    return np.array([np.sin(info["state"][0]), np.cos(info["state"][0])])


def quadratic_r2(z: NDArray[Any], states: NDArray[np.float64]) -> float:
    """Return the smallest R² over dimensions of the states, from latents and their products, on a held-out half."""
    half, z = len(z) // 2, np.asarray(z, np.float64)
    return min(explained((z[:half], states[:half]), (z[half:], states[half:]), degree=2))


def draw_first_models(results: Sequence[Result], path: Path) -> None:
    """Plot the fraction of steps in the goal by task and variant, and into a folder what the first models learned."""
    from matplotlib.figure import Figure as Plot

    shares: dict[str, list[float]] = {}
    for settings, folder, rows in results:
        for row in rows:
            shares.setdefault(f"{row['task']}\n{row['variant']}", []).append(float(row["share_in_goal"]))
        if settings["seed"] == 0:
            model = E2C.load(folder / "model", device="cpu")
            task = gym.make(settings["env"], **list(settings["tasks"].values())[-1])
            plots = path.with_suffix("") / f"{settings['data']}_{settings['variant']}"
            draw(model, training_env(settings), task, plots)
    figure = Plot(figsize=(1.6 * len(shares) + 1, 3.6), layout="constrained")
    axes = figure.subplots()
    for column, values in enumerate(shares.values()):
        axes.plot([column] * len(values), values, "o", alpha=0.6)
    axes.set(xticks=range(len(shares)), xticklabels=list(shares))
    axes.set(ylim=(-0.05, 1.05), ylabel="fraction of steps in the goal")
    figure.savefig(path, dpi=130)


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("task", "variant", "seed", "share_in_goal", "r2", "r2_seen", "kl_prior", "training_seconds"),
    draw=draw_first_models,
    seeds={"smoke": 1, "quick": 5},
    key=KEY,
)
