"""Plots of a trained E2C model: its latent space, reconstructions, and a plan beside its outcome."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_envs.planar import PlanarObstacles
from ardae_envs.poles import PixelPole
from ardae_envs.start_anywhere import StartAnywhere
from ardae_rl.common.optional import require
from ardae_rl.e2c.e2c import E2C
from ardae_rl.e2c.policies import as_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_MAPPED, _N_RECONSTRUCTED = 1500, 8
Array = NDArray[Any]


def draw_run(model: E2C, env_id: str, folder: Path, env_kwargs: Mapping[str, Any] | None = None) -> list[Path]:
    """Draw the plots of a training run, in environments made from their id and arguments; return the paths.

    :raises ImportError: If matplotlib is not installed.
    """
    try:
        training_env: gym.Env[Any, Any] = StartAnywhere(gym.make(env_id, **(env_kwargs or {})))
    except ValueError:  # the environment does not support random starts
        training_env = gym.make(env_id, **(env_kwargs or {}))
    return draw(model, training_env, gym.make(env_id, **(env_kwargs or {})), folder)


def draw(
    model: E2C, training_env: gym.Env[Any, Any], task: gym.Env[Any, Any], folder: Path, seed: int = 0
) -> list[Path]:
    """Write latent_map.png, reconstructions.png and, for a model that plans to goal images, plan.png.

    :param model: The trained model.
    :param training_env: Environment that provides the images to encode; its episodes should start in random states.
    :param task: Environment of the planned episode.
    :param folder: Where to write the plots; created if missing.
    :param seed: Seed of both environments.
    :return: The paths of the plots.
    :raises ImportError: If matplotlib is not installed.
    """
    require("matplotlib", "plots")
    images, places = _observed(model, training_env, seed)
    figures = {
        "latent_map": latent_map(model, images, places),
        "reconstructions": reconstructions(model, images[:_N_RECONSTRUCTED]),
    }
    if model.policy.by_goal:
        figures["plan"] = plan_strip(model, task, seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path, dpi=120)
    return paths


@th.no_grad()
def latent_map(model: E2C, images: Array, places: dict[str, Array]) -> "Figure":
    """Plot the encoder's means in their first two principal components, colored by the state of the environment.

    :param images: uint8 images as the policy sees them, (n, channels, height, width).
    :param places: Coordinates of the states by name, each (n,).
    """
    from matplotlib.figure import Figure

    mean = model.policy.encoder(as_images(th.as_tensor(images, device=model.device)))[0].cpu().numpy()
    centered = mean - mean.mean(0)
    axes_of_data = np.linalg.svd(centered, full_matrices=False)[2][:2]
    points = centered @ axes_of_data.T
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))  # one latent dimension has no second component
    figure = Figure(figsize=(5.2 * len(places), 4.6), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(places), squeeze=False)[0], places.items(), strict=True):
        colors = axes.scatter(*points.T, c=values, s=8, cmap="twilight" if name == "angle" else "viridis")
        figure.colorbar(colors, label=name)
        axes.set_xlabel("latent, first component")
        axes.set_ylabel("second component")
    return figure


@th.no_grad()
def reconstructions(model: E2C, images: Array) -> "Figure":
    """Plot images above their reconstructions from the encoder's means.

    :param images: uint8 images, (n, channels, height, width).
    """
    originals = as_images(th.as_tensor(images, device=model.device))
    decoded = model.policy.decoder(model.policy.encoder(originals)[0]).sigmoid()
    rows = {"original": originals.cpu().numpy(), "reconstructed": decoded.cpu().numpy()}
    return _strip(rows, f"{len(originals)} states")


@th.no_grad()
def plan_strip(model: E2C, task: gym.Env[Any, Any], seed: int = 0) -> "Figure":
    """Plot the decoded states of the first plan above the images that its actions lead to; the last column is the goal.

    Both rows stop at the end of the episode, even if the plan is longer.
    """
    policy = model.policy
    observation, _ = task.reset(seed=seed)
    _, (plans, *_) = policy.predict(observation)
    tensors: Any = policy.obs_to_tensor(observation)[0]
    z, goal = policy.infer_state(tensors, (), None, th.ones(1, dtype=th.bool, device=model.device))[0].chunk(2, -1)
    expected, executed = [z], [tensors["observation"]]
    for action in plans[0]:
        z = policy.dynamics(z, th.as_tensor(action, device=model.device)[None])
        observation, _, terminated, truncated, _ = task.step(policy.unscaled(action))
        expected.append(z)
        executed.append(_image(model, observation))
        if terminated or truncated:
            break
    n_steps = len(expected) - 1
    expected.append(goal)
    executed.append(tensors["desired_goal"])
    rows = {
        "planned": policy.decoder(th.cat(expected)).sigmoid().cpu().numpy(),
        "executed": as_images(th.cat(executed)).cpu().numpy(),
    }
    return _strip(rows, f"a plan of {n_steps} steps; the last column is the goal")


def _observed(model: E2C, env: gym.Env[Any, Any], seed: int) -> tuple[Array, dict[str, Array]]:
    """Return the first images of many episodes, as the policy sees them, and the coordinates of their states."""
    images, places = [], []
    for k in range(_N_MAPPED):
        observation, info = env.reset(seed=seed + k)
        images.append(_image(model, observation))
        places.append(_coordinates(env, info) or {"episode": k})
    return th.cat(images).cpu().numpy(), {name: np.array([place[name] for place in places]) for name in places[0]}


def _image(model: E2C, observation: Any) -> th.Tensor:
    """Return the image of an observation as the policy sees it, (1, channels, height, width), uint8."""
    tensors: Any = model.policy.obs_to_tensor(observation)[0]
    image: th.Tensor = tensors["observation"] if model.policy.by_goal else tensors
    return image


def _coordinates(env: gym.Env[Any, Any], info: dict[str, Any]) -> dict[str, float]:
    """Return the coordinates of a state by name, from ``info["position"]`` or ``info["state"]``; empty without them."""
    if isinstance(env.unwrapped, PlanarObstacles):
        return dict(zip(("row", "column"), info["position"], strict=True))
    if isinstance(env.unwrapped, PixelPole):
        return {"angle": info["state"][0]}
    values = np.ravel(info.get("position", info.get("state", ())))
    return {f"coordinate {i}": float(value) for i, value in enumerate(values, 1)}


def _strip(rows: dict[str, Array], title: str) -> "Figure":
    """Plot rows of images in [0, 1], each (n, channels, height, width); only the last channel is shown."""
    from matplotlib.figure import Figure

    n = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * n + 0.6, 1.15 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    for line, (name, images) in zip(figure.subplots(len(rows), n, squeeze=False), rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image[-1], cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
