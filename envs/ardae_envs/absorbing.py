"""Episodes of constant length for environments that terminate: the end leads to a state that is never left."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ardae_envs.checks import check_min


class AbsorbingState(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Continue a terminated episode in an absorbing state, with reward 0 and ignored actions, up to the horizon.

    A learned reward then assigns a value to having terminated. Without this wrapper SB3 sets that value to 0, so that
    positive rewards favor survival and negative ones favor termination, whatever the demonstrations show (Kostrikov
    et al. 2019, Discriminator-actor-critic, https://arxiv.org/abs/1809.02925). Each observation gets one more entry: 0
    in the environment's own states; in the absorbing state it is 1 and all other entries are 0.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_envs.absorbing import AbsorbingState
    >>> env = AbsorbingState(gym.make("CartPole-v1"), horizon=200)
    >>> observation, _ = env.reset(seed=0)
    >>> for _ in range(200):  # the pole falls long before the end
    ...     observation, reward, terminated, truncated, _ = env.step(1)
    >>> observation, reward, terminated, truncated
    (array([0., 0., 0., 0., 1.], dtype=float32), 0.0, False, True)

    :param env: Environment whose observations are vectors.
    :param horizon: Number of steps of every episode; None for the environment's own limit.
    :raises ValueError: If the observations are not vectors, or if there is no horizon.
    """

    def __init__(self, env: gym.Env[Any, Any], horizon: int | None = None) -> None:
        RecordConstructorArgs.__init__(self, horizon=horizon)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"`env` must have vectors as observations, got {space}")
        if horizon is None:
            horizon = None if env.spec is None else env.spec.max_episode_steps
        if horizon is None:
            raise ValueError("`horizon` must be given for an environment without a limit of steps, got None")
        check_min("horizon", horizon, 1)
        self.horizon = horizon
        low, high = (np.append(bound, flag).astype(space.dtype) for bound, flag in ((space.low, 0), (space.high, 1)))
        low[:-1], high[:-1] = np.minimum(low[:-1], 0), np.maximum(high[:-1], 0)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype)

    def reset(self, **kwargs: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._t, self._absorbed = 0, False
        return self._augmented(observation), info

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self._t += 1
        at_horizon = self._t >= self.horizon
        if self._absorbed:
            return self.absorbing_observation(), 0.0, False, at_horizon, {}
        observation, reward, self._absorbed, truncated, info = self.env.step(action)
        next_observation = self.absorbing_observation() if self._absorbed else self._augmented(observation)
        return next_observation, float(reward), False, at_horizon or (truncated and not self._absorbed), info

    def absorbing_observation(self) -> NDArray[Any]:
        """Return the observation of the absorbing state: zeros, then a one."""
        observation = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
        observation[-1] = 1
        return observation

    def _augmented(self, observation: NDArray[Any]) -> NDArray[Any]:
        return np.append(observation, 0).astype(self.observation_space.dtype)


def make(env_id: str, **kwargs: Any) -> AbsorbingState:
    """Return a registered environment with absorbing states.

    :param env_id: Id of the environment.
    :param kwargs: Keyword arguments of the environment.
    """
    return AbsorbingState(gym.make(env_id, **kwargs))
