"""Sequences of consecutive steps from SB3's replay buffers."""

from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer


class Sequences(NamedTuple):
    """Row t of an episode: at observation t the action t was taken, which caused reward t and observation t + 1."""

    observations: th.Tensor  # (batch, length + 1, ...)
    actions: th.Tensor  # (batch, length, action_dim), in [-1, 1]
    rewards: th.Tensor  # (batch, length)


class SequenceSampler:
    """Draws sequences that lie within an episode, with replacement, each place equally likely.

    :param buffer: at rest, while this samples from it
    :param length: steps of a sequence
    :param key: of dictionaries of observations, what to take
    :raises ValueError: if no episode has so many steps
    """

    def __init__(self, buffer: ReplayBuffer, length: int, key: str | None = None) -> None:
        self.buffer, self.length, self.key = buffer, length, key
        n = buffer.size()
        # From the oldest step to the newest: a full buffer goes round
        self._order = (np.arange(n) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size
        dones = buffer.dones[self._order].astype(bool)  # (n, n_envs)
        left = np.zeros((n + 1, dones.shape[1]), dtype=np.int64)  # steps to the episode's end, this one included
        for t in reversed(range(n)):
            left[t] = np.where(dones[t], 1, left[t + 1] + 1)
        self._starts, self._envs = np.nonzero(left[:n] >= length)
        if len(self._starts) == 0:
            raise ValueError(f"length={length!r}: accepted are at most {int(left.max())}, the longest episode's steps")

    def sample(self, batch_size: int, rng: np.random.Generator) -> Sequences:
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
