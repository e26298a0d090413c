"""Training from everywhere in environments whose tasks start at one place."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from ardae_envs.planar import PlanarObstacles
from ardae_envs.poles import PixelPole


class StartAnywhere(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Episodes of ``ardae/PlanarObstacles-v0`` and of the poles start anywhere, as with ``start="anywhere"``.

    For where an environment is made from its id alone, such as RL Zoo's ``env_wrapper``.

    :param env: to be wrapped
    :raises ValueError: for an environment without such starts
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        base = env.unwrapped
        if not isinstance(base, (PlanarObstacles, PixelPole)):
            raise ValueError(
                f"env={env}: accepted are ardae/PlanarObstacles-v0 and the environments of poles in pixels"
            )
        base.start = "anywhere"
