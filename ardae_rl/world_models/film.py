"""A video of an agent beside what its models make of the world."""

from pathlib import Path

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.optional import require
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stages import make_repeating
from ardae_rl.world_models.vision import as_frames

_ENLARGED = 4
_FPS = 50  # of the environment


def film(
    policy: WorldModelPolicy, env_id: str, path: Path, n_steps: int, temperature: float = 1.0, seed: int = 0
) -> Path:
    """Three pictures side by side, until the episode or the decisions are over: what the policy sees, V's
    reconstruction of it, and the dream of V and M that began with the same frame, driven by the same controller.

    :param path: of the video, MP4
    :raises ImportError: without moviepy
    """
    require("moviepy", "zoo")
    from moviepy import ImageSequenceClip

    path.parent.mkdir(parents=True, exist_ok=True)
    small = _pictures(policy, env_id, n_steps, temperature, seed)
    pictures = [picture.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1) for picture in small]
    ImageSequenceClip(pictures, fps=_FPS / policy.action_repeat).write_videofile(
        str(path), codec="libx264", audio=False, logger=None
    )
    return path


def _pictures(
    policy: WorldModelPolicy, env_id: str, n_steps: int, temperature: float, seed: int
) -> list[NDArray[np.uint8]]:
    """Of 64 x 192 pixels."""
    policy.set_training_mode(False)
    env = make_repeating(env_id, policy.action_repeat)
    observation, _ = env.reset(seed=seed)
    parameters = policy.controller_parameters.detach()
    mean, log_std = policy.vision.encode(th.from_numpy(policy.see(observation[None])))
    generator = th.Generator().manual_seed(seed)
    dream = Dream(policy, (mean.detach(), th.full_like(log_std, -th.inf).detach()), temperature)
    at, memory = dream.begin([generator]), policy.memory.initial_state(1)
    pictures: list[NDArray[np.uint8]] = []
    for _ in range(n_steps):
        with th.no_grad():
            z = policy.latents(observation[None])
            imagined = as_frames(policy.vision.decode(th.cat([z, at.z]))).cpu().numpy()
            pictures.append(np.concatenate([policy.see(observation[None])[0], *imagined], axis=1))
            actions = policy.control(parameters, policy.features(z, memory))
            memory = policy.remember(z, actions, memory)
            dreamt = policy.control(parameters, policy.features(at.z, at.memory))
        at, _, _ = dream.step(at, dreamt, generator)
        observation, _, terminated, truncated, _ = env.step(actions[0])
        if terminated or truncated:
            break
    env.close()
    return pictures
