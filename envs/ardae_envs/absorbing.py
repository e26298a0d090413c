"""Absorbing states: terminated episodes continue for one step in a state that is never left."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ardae_envs.optional import require


class AbsorbingState(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Extend each terminated episode by one step in an absorbing state, with reward 0 and an ignored action.

    The episode is truncated there, so that SB3 learns the value of staying in the absorbing state forever. A learned
    reward can thus assign a value to termination. Without this wrapper, SB3 sets that value to 0, so that positive
    rewards favor survival and negative ones favor termination, whatever the demonstrations show (Kostrikov et al. 2019,
    Discriminator-actor-critic, https://arxiv.org/abs/1809.02925). Each observation gets one more entry, which is 0 in
    the environment's own states. In the absorbing state it is 1, and all other entries are 0.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.absorbing import AbsorbingState
    >>> env = AbsorbingState(gym.make("CartPole-v1"))
    >>> observation, _ = env.reset(seed=0)
    >>> while observation[-1] == 0:  # until the pole has fallen
    ...     observation, reward, terminated, truncated, _ = env.step(1)
    >>> observation, reward, terminated, truncated
    (array([0., 0., 0., 0., 1.], dtype=float32), 1.0, False, False)
    >>> env.step(1)
    (array([0., 0., 0., 0., 1.], dtype=float32), 0.0, False, True, {})

    :param env: Environment whose observations are vectors.
    :raises ValueError: If the observations are not vectors.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"`env` must have vector observations, got {space}")
        low, high = (np.append(bound, flag).astype(space.dtype) for bound, flag in ((space.low, 0), (space.high, 1)))
        low[:-1], high[:-1] = np.minimum(low[:-1], 0), np.maximum(high[:-1], 0)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype)

    @property
    def marked_space(self) -> spaces.Box:
        """The space of observations whose last entry marks the absorbing state.

        Wrappers around this one may have another observation space.
        """
        space = self.observation_space
        assert isinstance(space, spaces.Box)
        return space

    def reset(self, **kwargs: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._absorbed = False
        return self._augmented(observation), info

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        if self._absorbed:
            return self.absorbing_observation(), 0.0, False, True, {}
        observation, reward, self._absorbed, truncated, info = self.env.step(action)
        if self._absorbed:
            return self.absorbing_observation(), float(reward), False, False, info
        return self._augmented(observation), float(reward), False, truncated, info

    def absorbing_observation(self) -> NDArray[Any]:
        """Return the observation of the absorbing state: zeros, then a one."""
        observation = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
        observation[-1] = 1
        return observation

    def _augmented(self, observation: NDArray[Any]) -> NDArray[Any]:
        return np.append(observation, 0).astype(self.observation_space.dtype)


def make(env_id: str, time_limit: int | None = None, **kwargs: Any) -> AbsorbingState:
    """Return a registered environment with absorbing states.

    :param env_id: Id of the environment.
    :param time_limit: Number of steps after which an episode that has not terminated is truncated; None for the limit
        of ``env_id``. ``gymnasium.make(..., max_episode_steps=n)`` adds a second limit, which can only be shorter.
    :param kwargs: Keyword arguments of the environment.
    :raises DependencyNotInstalled: For an environment of MuJoCo, if that is not installed.
    """
    spec = gym.registry.get(env_id)
    if spec is not None and str(spec.entry_point).startswith("gymnasium.envs.mujoco"):
        require("mujoco", "mujoco")
    return AbsorbingState(gym.make(env_id, max_episode_steps=time_limit, **kwargs))
