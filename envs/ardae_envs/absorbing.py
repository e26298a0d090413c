"""Episodes of one length for environments that end: after the end comes a state that is never left."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray


class AbsorbingState(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Where an episode would end, it goes on in an absorbing state, with reward 0 and whatever actions, to its horizon.

    A learned reward then has a value for having ended, in place of the 0 that SB3 gives it: without, rewards above 0
    pay for staying alive and rewards below for ending, whatever demonstrations say (Kostrikov et al. 2019,
    Discriminator-actor-critic, https://arxiv.org/abs/1809.02925). Observations get one more number, 1 in the absorbing
    state, whose other numbers are 0.

    :param env: of vectors as observations
    :param horizon: steps of every episode; None for the environment's limit
    :raises ValueError: for other observations, and without a horizon
    """

    def __init__(self, env: gym.Env[Any, Any], horizon: int | None = None) -> None:
        RecordConstructorArgs.__init__(self, horizon=horizon)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"env with observations {space}: accepted are vectors")
        if horizon is None:
            horizon = None if env.spec is None else env.spec.max_episode_steps
        if horizon is None or horizon < 1:
            raise ValueError(
                f"horizon={horizon!r}: accepted are numbers from 1 up, or None where the environment has one"
            )
        self.horizon = horizon
        low, high = (np.append(bound, end).astype(space.dtype) for bound, end in ((space.low, 0), (space.high, 1)))
        low[:-1], high[:-1] = np.minimum(low[:-1], 0), np.maximum(high[:-1], 0)
        self.observation_space = spaces.Box(low, high, dtype=space.dtype)

    def reset(self, **kwargs: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._t, self._absorbed = 0, False
        return self._inside(observation), info

    def step(self, action: Any) -> tuple[NDArray[Any], float, bool, bool, dict[str, Any]]:
        self._t += 1
        truncated = self._t >= self.horizon
        if self._absorbed:
            return self.absorbing_observation(), 0.0, False, truncated, {}
        observation, reward, self._absorbed, cut_off, info = self.env.step(action)
        following = self.absorbing_observation() if self._absorbed else self._inside(observation)
        return following, float(reward), False, truncated or (cut_off and not self._absorbed), info

    def absorbing_observation(self) -> NDArray[Any]:
        """Zeros and a one."""
        observation = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
        observation[-1] = 1
        return observation

    def _inside(self, observation: NDArray[Any]) -> NDArray[Any]:
        return np.append(observation, 0).astype(self.observation_space.dtype)
