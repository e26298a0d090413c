"""Sequences of consecutive steps, sampled from SB3's replay buffers."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize


class Sequences(NamedTuple):
    """Batches of sequences: action t, taken at observation t, causes reward t and observation t + 1."""

    observations: th.Tensor  # (batch, length + 1, ...)
    actions: th.Tensor  # (batch, length, action_dim), in [-1, 1]
    rewards: th.Tensor  # (batch, length)


class SequenceSampler:
    """Samples sequences that lie within an episode, uniformly and with replacement.

    An episode ends at a step that is done, or whose ``next_obs`` differs from the observation of the following step.
    The latter finds the boundaries that SB3 does not mark, where another call of ``learn`` or a loaded model reset the
    environment.

    :param buffer: Replay buffer, which must not change while it is sampled from.
    :param sequence_length: Number of steps per sequence.
    :param key: Which entry of dictionary observations to return; None for other observations.
    :param env: Normalizer of observations and rewards, which the buffer stores unnormalized; None for no normalization.
    :raises ValueError: If no episode has ``sequence_length`` steps.
    """

    def __init__(
        self,
        buffer: ReplayBuffer,
        sequence_length: int,
        key: str | None = None,
        env: VecNormalize | None = None,
    ) -> None:
        self.buffer, self.sequence_length, self.key, self.env = buffer, sequence_length, key, env
        n = buffer.size()
        # Rows from the oldest step to the newest: a full buffer wraps around
        self._order = (np.arange(n) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size
        ends = buffer.dones[self._order].astype(bool)  # (n, n_envs)
        # Number of steps to the end of the episode, including this one
        remaining = np.zeros((n + 1, ends.shape[1]), dtype=np.int64)
        for t in reversed(range(n)):
            if t < n - 1:
                ends[t] |= self._differ(self._order[t], self._order[t + 1])
            remaining[t] = np.where(ends[t], 1, remaining[t + 1] + 1)
        self._starts, self._envs = np.nonzero(remaining[:n] >= sequence_length)
        if len(self._starts) == 0:
            raise ValueError(
                f"`sequence_length` must be at most {int(remaining.max())}, the longest part of an episode that was "
                f"collected, got {sequence_length!r}"
            )

    def sample(self, batch_size: int, rng: np.random.Generator) -> Sequences:
        """Return ``batch_size`` sequences."""
        drawn = rng.integers(len(self._starts), size=batch_size)
        envs = self._envs[drawn, None]
        rows = self._order[self._starts[drawn, None] + np.arange(self.sequence_length)]  # (batch, length)
        first = _part(self.buffer.observations, self.key)[rows, envs]
        last = _part(self.buffer.next_observations, self.key)[rows[:, -1:], envs]
        observations, rewards = np.concatenate([first, last], 1), self.buffer.rewards[rows, envs]
        if self.env is not None:
            observations, rewards = self._normalized(observations, self.env), self.env.normalize_reward(rewards)
        arrays = observations, self.buffer.actions[rows, envs], rewards
        return Sequences(*(th.as_tensor(array, device=self.buffer.device) for array in arrays))

    def _normalized(self, observations: NDArray[Any], env: VecNormalize) -> NDArray[Any]:
        statistics: Any = env.obs_rms if env.norm_obs else None
        if self.key is not None and statistics is not None:
            statistics = statistics.get(self.key)  # None for a key that is not normalized
        if statistics is None:
            return observations
        return env._normalize_obs(observations, statistics).astype(np.float32)

    def _differ(self, row: int, next_row: int) -> NDArray[np.bool_]:
        """Return whether the next observation of ``row`` differs from the observation of ``next_row``, (n_envs,)."""
        after, acted_on = self.buffer.next_observations, self.buffer.observations
        pairs = [(after[k], acted_on[k]) for k in acted_on] if isinstance(acted_on, dict) else [(after, acted_on)]
        differ = [(a[row] != b[next_row]).reshape(len(a[row]), -1).any(1) for a, b in pairs]
        result: NDArray[np.bool_] = np.logical_or.reduce(differ)
        return result


def _part(observations: Any, key: str | None) -> NDArray[Any]:
    part: NDArray[Any] = observations if key is None else observations[key]
    return part
