"""Training from everywhere in environments whose tasks start at one place."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import TimeLimit

from ardae_envs.planar import PlanarObstacles
from ardae_envs.poles import PixelPole


class StartAnywhere(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Episodes of ``ardae/PlanarObstacles-v0`` and of the poles start anywhere, as with ``start="anywhere"``.

    For where an environment is made from its id alone, such as RL Zoo's ``env_wrapper``.

    :param env: to be wrapped
    :param episode_steps: after which episodes are cut, so that they stay spread over all states; None for the task's
    :raises ValueError: for an environment without such starts, and fewer than one step
    """

    def __init__(self, env: gym.Env[Any, Any], episode_steps: int | None = None) -> None:
        if episode_steps is not None and episode_steps < 1:
            raise ValueError(f"episode_steps={episode_steps!r}: accepted are 1 and more, and None")
        RecordConstructorArgs.__init__(self, episode_steps=episode_steps)
        gym.Wrapper.__init__(self, env if episode_steps is None else TimeLimit(env, episode_steps))
        base = env.unwrapped
        if not isinstance(base, (PlanarObstacles, PixelPole)):
            raise ValueError(
                f"env={env}: accepted are ardae/PlanarObstacles-v0 and the environments of poles in pixels"
            )
        base.start = "anywhere"
