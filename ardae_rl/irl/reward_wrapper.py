"""A vectorized environment with a learned reward."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from ardae_rl.common.copies import deep_copy
from ardae_rl.common.finite import check_all_finite

Array = NDArray[Any]


class VecStep(NamedTuple):
    """One step of n parallel environments, as arrays with n rows."""

    observations: Any
    actions: Array
    next_observations: Any  # of the same episode: the terminal observation where an episode has ended
    terminated: Array
    truncated: Array


class RewardVecEnvWrapper(VecEnvWrapper):
    """Replace the reward of an environment; the original one remains in ``info["original_reward"]``.

    :param venv: Environment to wrap.
    :param reward: Function that returns the n rewards of a :class:`VecStep`.
    :param start_episodes: Function to call when all environments are reset, possibly in the middle of episodes.
    :raises ValueError: In ``reset`` and ``step``, if observations are not finite.
    """

    def __init__(
        self, venv: VecEnv, reward: Callable[[VecStep], Array], start_episodes: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(venv)
        self._reward, self._start_episodes = reward, start_episodes
        self._observations: Any = None
        self._actions: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "RewardVecEnvWrapper":
        return deep_copy(self, memo, shared=("class_attributes",))  # SB3's, which cannot be copied

    def go_on_from(self, observations: Any) -> None:
        """Continue episodes from these observations instead of starting with a reset."""
        self._observations = observations

    def reset(self) -> Any:
        self._start_episodes()
        self._observations = self.venv.reset()
        check_all_finite("observations", self._observations)
        return self._observations

    def step_async(self, actions: Array) -> None:
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        observations, original, dones, infos = self.venv.step_wait()
        truncated = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos]) & dones
        next_observations = with_terminal_observations(observations, dones, infos)
        for part in (observations, next_observations):
            check_all_finite("observations", part)
        step = VecStep(self._observations, self._actions, next_observations, dones & ~truncated, truncated)
        for info, reward in zip(infos, original, strict=True):
            info["original_reward"] = float(reward)
        self._observations = observations
        return observations, self._reward(step), dones, infos


def with_terminal_observations(observations: Any, dones: Array, infos: Any) -> Any:
    """Return the observations that a step led to.

    Where an episode has ended, a VecEnv returns the first observation of the next episode instead; it keeps the
    terminal observation in ``infos``.
    """
    if not dones.any():
        return observations
    if isinstance(observations, dict):
        by_name = {name: np.array(value) for name, value in observations.items()}
        for k in np.flatnonzero(dones):
            for name in by_name:
                by_name[name][k] = infos[k]["terminal_observation"][name]
        return by_name
    array = np.array(observations)
    for k in np.flatnonzero(dones):
        array[k] = infos[k]["terminal_observation"]
    return array
