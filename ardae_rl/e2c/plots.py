"""What a trained E2C makes of its environment, to look at: latent map, reconstructions, a plan and what comes of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_envs.start_anywhere import StartAnywhere
from ardae_rl.common.optional import require
from ardae_rl.e2c.e2c import E2C
from ardae_rl.e2c.policies import as_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_N_MAPPED, _N_RECONSTRUCTED = 1500, 8
Array = NDArray[Any]


def draw_run(model: E2C, env_id: str, folder: Path) -> list[Path]:
    """:func:`draw` after a training, in environments made from their id.

    :raises ImportError: without matplotlib
    """
    try:
        training_env: gym.Env[Any, Any] = StartAnywhere(gym.make(env_id))
    except ValueError:  # one that has no such starts
        training_env = gym.make(env_id)
    return draw(model, training_env, gym.make(env_id), folder)


def draw(
    model: E2C, training_env: gym.Env[Any, Any], task: gym.Env[Any, Any], folder: Path, seed: int = 0
) -> list[Path]:
    """latent_map.png, reconstructions.png and, of a model that plans to pictures of goals, plan.png.

    :param training_env: of pictures to encode, which start anywhere
    :param task: of the planned episode
    :param seed: of both
    :raises ImportError: without matplotlib
    """
    require("matplotlib", "plots")
    pictures, places = _observed(training_env, seed)
    figures = {
        "latent_map": latent_map(model, pictures, places),
        "reconstructions": reconstructions(model, pictures[:_N_RECONSTRUCTED]),
    }
    if model.policy.by_goal:
        figures["plan"] = plan_strip(model, task, seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        figure.savefig(path, dpi=120)
    return paths


@th.no_grad()
def latent_map(model: E2C, pictures: Array, places: dict[str, Array]) -> "Figure":
    """The means of the encoder in their first two principal components, coloured by where the pictures were made.

    :param pictures: as the policy has them, (n, channels, height, width), uint8
    :param places: coordinates by name, (n) each
    """
    from matplotlib.figure import Figure

    mean = model.policy.encoder(as_pictures(th.as_tensor(pictures)))[0].numpy()
    centred = mean - mean.mean(0)
    axes_of_data = np.linalg.svd(centred, full_matrices=False)[2][:2]
    points = centred @ axes_of_data.T
    figure = Figure(figsize=(5.2 * len(places), 4.6), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(1, len(places), squeeze=False)[0], places.items(), strict=True):
        colours = axes.scatter(*points.T, c=values, s=8, cmap="twilight" if name == "angle" else "viridis")
        figure.colorbar(colours, label=name)
        axes.set_xlabel("latent, first component")
        axes.set_ylabel("second component")
    return figure


@th.no_grad()
def reconstructions(model: E2C, pictures: Array) -> "Figure":
    """Pictures above what is decoded from the means of the encoder.

    :param pictures: (n, channels, height, width), uint8
    """
    given = as_pictures(th.as_tensor(pictures))
    decoded = model.policy.decoder(model.policy.encoder(given)[0]).sigmoid()
    return _strip({"seen": given.numpy(), "reconstructed": decoded.numpy()}, f"{len(given)} states")


@th.no_grad()
def plan_strip(model: E2C, task: gym.Env[Any, Any], seed: int = 0) -> "Figure":
    """The first plan's pictures, decoded from the states that it expects, above what doing it gives; last the goal."""
    policy = model.policy
    observation, _ = task.reset(seed=seed)
    _, (plans, *_) = policy.predict(observation)
    tensors, _ = policy.obs_to_tensor(observation)
    z, goal = policy.locate(tensors, (), None, th.ones(1, dtype=th.bool))[0].chunk(2, -1)
    expected, done = [z], [observation["observation"]]
    for action in plans[0]:
        z = policy.dynamics(z, th.as_tensor(action)[None])
        expected.append(z)
        done.append(task.step(policy.unscaled(action))[0]["observation"])
    expected.append(goal)
    done.append(observation["desired_goal"])
    rows = {
        "planned": policy.decoder(th.cat(expected)).sigmoid().numpy(),
        "done": as_pictures(th.as_tensor(np.stack(done))).permute(0, 3, 1, 2).numpy(),
    }
    return _strip(rows, f"a plan of {len(plans[0])} steps; last, the goal")


def _observed(env: gym.Env[Any, Any], seed: int) -> tuple[Array, dict[str, Array]]:
    """Pictures of many episodes' starts, and where they were made: by ``info``'s "position" or "state"."""
    pictures, places = [], []
    for k in range(_N_MAPPED):
        observation, info = env.reset(seed=seed + k)
        picture = observation["observation"] if isinstance(observation, dict) else observation
        pictures.append(np.moveaxis(picture, -1, 0))
        places.append(info["position"] if "position" in info else info["state"][:1] if "state" in info else [k])
    names = {1: ("angle",), 2: ("row", "column")} if "position" in info or "state" in info else {1: ("episode",)}
    columns = np.asarray(places, np.float64).T
    return np.stack(pictures), dict(zip(names[len(columns)], columns, strict=True))


def _strip(rows: dict[str, Array], title: str) -> "Figure":
    """Rows of pictures, (n, channels, height, width) in [0, 1] each; of several channels the last."""
    from matplotlib.figure import Figure

    n = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * n + 0.6, 1.15 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title)
    for line, (name, pictures) in zip(figure.subplots(len(rows), n, squeeze=False), rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axes, picture in zip(line, pictures, strict=True):
            axes.imshow(picture[-1], cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
    return figure
