"""Training from random states in environments whose tasks have fixed starts."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from ardae_envs.checks import check_min
from ardae_envs.planar import PlanarObstacles
from ardae_envs.poles import PixelPole


class StartAnywhere(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Start the episodes of ``ardae/PlanarObstacles-v0`` and the pole environments in a random state.

    It sets ``start="anywhere"`` on an environment that was made from its id alone, such as by RL Zoo, which applies
    this class as an ``env_wrapper``.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.start_anywhere import StartAnywhere
    >>> env = StartAnywhere(gym.make("ardae_envs:ardae/PendulumPixels-v0"), episode_steps=5)
    >>> observation, info = env.reset(seed=0)

    :param env: The environment to wrap.
    :param episode_steps: Number of steps after which episodes are truncated; few steps help the data to cover the whole
        state space. None for the task's own limit.
    :raises ValueError: If the environment does not support random starts, or if ``episode_steps`` is below 1.
    """

    def __init__(self, env: gym.Env[Any, Any], episode_steps: int | None = None) -> None:
        if episode_steps is not None:
            check_min("episode_steps", episode_steps, 1)
        RecordConstructorArgs.__init__(self, episode_steps=episode_steps)
        gym.Wrapper.__init__(self, env)
        base = env.unwrapped
        if not isinstance(base, (PlanarObstacles, PixelPole)):
            raise ValueError(f"`env` must be ardae/PlanarObstacles-v0 or a pole environment with pixels, got {env}")
        base.start = "anywhere"
        self.episode_steps, self._n_steps = episode_steps, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._n_steps = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._n_steps += 1
        # Counted here, because a TimeLimit inside would be recorded and recreated in addition to this wrapper
        truncated = truncated or self._n_steps == self.episode_steps
        return observation, reward, terminated, truncated, info
