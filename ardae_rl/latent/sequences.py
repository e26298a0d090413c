"""Sequences of consecutive steps, sampled from SB3's replay buffers."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer


class Sequences(NamedTuple):
    """Batches of sequences: action t, taken at observation t, causes reward t and observation t + 1."""

    observations: th.Tensor  # (batch, length + 1, ...)
    actions: th.Tensor  # (batch, length, action_dim), in [-1, 1]
    rewards: th.Tensor  # (batch, length)


class SequenceSampler:
    """Samples sequences that lie within an episode, uniformly and with replacement.

    :param buffer: Replay buffer, which must not change while it is sampled from.
    :param length: Number of steps per sequence.
    :param key: Key of dictionary observations to take.
    :raises ValueError: If no episode is that long.
    """

    def __init__(self, buffer: ReplayBuffer, length: int, key: str | None = None) -> None:
        self.buffer, self.length, self.key = buffer, length, key
        n = buffer.size()
        # From the oldest step to the newest: a full buffer wraps around
        self._order = (np.arange(n) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size
        dones = buffer.dones[self._order].astype(bool)  # (n, n_envs)
        # Number of steps to the end of the episode, this one included
        remaining = np.zeros((n + 1, dones.shape[1]), dtype=np.int64)
        for t in reversed(range(n)):
            remaining[t] = np.where(dones[t], 1, remaining[t + 1] + 1)
        self._starts, self._envs = np.nonzero(remaining[:n] >= length)
        if len(self._starts) == 0:
            raise ValueError(
                f"`length` must be at most {int(remaining.max())}, the length of the longest episode, got {length!r}"
            )

    def sample(self, batch_size: int, rng: np.random.Generator) -> Sequences:
        """Return ``batch_size`` sequences."""
        drawn = rng.integers(len(self._starts), size=batch_size)
        envs = self._envs[drawn, None]
        rows = self._order[self._starts[drawn, None] + np.arange(self.length)]  # batch x length
        first = _part(self.buffer.observations, self.key)[rows, envs]
        last = _part(self.buffer.next_observations, self.key)[rows[:, -1:], envs]
        arrays = np.concatenate([first, last], 1), self.buffer.actions[rows, envs], self.buffer.rewards[rows, envs]
        return Sequences(*(th.as_tensor(array, device=self.buffer.device) for array in arrays))


def _part(observations: Any, key: str | None) -> NDArray[Any]:
    part: NDArray[Any] = observations if key is None else observations[key]
    return part
