"""A video of an agent beside its models' reconstruction and dream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.optional import require
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.environments import Source, make_repeating
from ardae_rl.world_models.frame_policy import State
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.vision import as_frames

_ENLARGEMENT = 4
_FPS = 50  # frames per second of the environment


def film(
    policy: WorldModelPolicy,
    env: str | Source,
    path: Path,
    n_steps: int,
    temperature: float = 1.0,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write a video of three images side by side, until the episode ends or ``n_steps`` decisions are made.

    The images are the policy's input, V's reconstruction of it, and a dream of V and M that begins with the same frame
    and uses the same controller.

    :param policy: Policy to film.
    :param env: Id or description of the environment, or a function that makes it.
    :param path: Path of the video, MP4.
    :param n_steps: Maximum number of decisions.
    :param temperature: Temperature of the dream.
    :param seed: Seed of the environment and the dream.
    :param progress: Whether to show a progress bar.
    :return: ``path``.
    :raises ImportError: If moviepy is not installed.
    """
    require("moviepy", "zoo")
    from moviepy import ImageSequenceClip

    path.parent.mkdir(parents=True, exist_ok=True)
    with progress_bar("film: decisions", n_steps, progress) as update:
        small = _images(policy, env, n_steps, temperature, seed, update)
    images = [image.repeat(_ENLARGEMENT, 0).repeat(_ENLARGEMENT, 1) for image in small]
    ImageSequenceClip(images, fps=_FPS / policy.action_repeat).write_videofile(
        str(path), codec="libx264", audio=False, logger=None
    )
    return path


@th.no_grad()
def _images(
    policy: WorldModelPolicy,
    env: str | Source,
    n_steps: int,
    temperature: float,
    seed: int,
    update: Callable[[int], None],
) -> list[NDArray[np.uint8]]:
    """Return images of 64 x 192 pixels."""
    policy.set_training_mode(False)
    made = make_repeating(env, policy.action_repeat)
    observation, _ = made.reset(seed=seed)
    real, dreaming = _Controller(policy), _Controller(policy)
    start = policy.latents(observation[None])
    # A posterior with zero variance, so that the dream begins with this latent itself
    dream = Dream(policy, (start, th.full_like(start, -th.inf)), temperature)
    generator = th.Generator().manual_seed(seed)
    dreamed = dream.begin([generator])
    images: list[NDArray[np.uint8]] = []
    for step in range(n_steps):
        z = policy.latents(observation[None])
        decoded = as_frames(policy.vision.decode(th.cat([z, dreamed.z]))).cpu().numpy()
        view = policy.preprocess(observation[None])
        images.append(np.concatenate([view[0], *decoded], axis=1))
        dreamed, _, _ = dream.step(dreamed, dreaming(decoded[1:], dreamed.z), generator)
        observation, _, terminated, truncated, _ = made.step(real(view, z)[0])
        update(step + 1)
        if terminated or truncated:
            break
    made.close()
    return images


class _Controller:
    """A policy's controller during one episode, whose inputs are frames or their latents.

    :param policy: Policy with the controller.
    """

    def __init__(self, policy: WorldModelPolicy) -> None:
        self.policy = policy
        self.memory = policy.memory.initial_state(1)
        self.stack: State | None = None

    def __call__(self, view: NDArray[np.uint8], z: th.Tensor) -> NDArray[Any]:
        """Return the action (1, ...) for a preprocessed frame (1, 64, 64, 3) with the latent z (1, z_dim)."""
        if self.policy.stacked_policy is not None:
            start = np.array([self.stack is None])
            actions, self.stack = self.policy.stacked_policy.decide_views(view, self.stack, start, deterministic=True)
            return actions
        actions = self.policy.control(self.policy.controller_parameters, self.policy.features(z, self.memory))
        self.memory = self.policy.remember(z, actions, self.memory)
        return actions
