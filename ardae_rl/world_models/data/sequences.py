"""Batches of sequences for a recurrent model."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch as th

from ardae_rl.world_models.data.episode_files import Array, Integers
from ardae_rl.world_models.data.frame_store import FrameStore
from ardae_rl.world_models.data.latent_store import LatentStore


@dataclass(frozen=True)
class SequenceBatch:
    """Row t: taken at z_t, action t led to z_{t+1}, reward t and done t. L rows, all of one episode.

    What lies beyond the end of an episode is zero, or False.
    """

    z: th.Tensor  # batch x L + 1 x z_dim, drawn from the posteriors
    mean: th.Tensor  # batch x L + 1 x z_dim
    log_std: th.Tensor  # batch x L + 1 x z_dim
    actions: th.Tensor  # batch x L x act_dim
    rewards: th.Tensor  # batch x L
    dones: th.Tensor  # batch x L, bool: whether z_{t+1} is terminal; not where an episode was cut off
    mask: th.Tensor  # batch x L, bool: whether there is such a row
    starts: th.Tensor  # batch, int64: number of the first row in its episode

    def to(self, device: th.device | str) -> "SequenceBatch":
        """The same on another device."""
        return SequenceBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class SequenceSampler:
    """Draws sequences of some episodes.

    Starts are uniform from L - 1 rows before each episode to its last row, and are then moved so that the sequence
    lies within the episode, as far as that is long enough. So first and last rows (with the only done) are drawn no
    less often than those in the middle of a long episode, and no row is drawn three times as often.

    :param latents: posteriors of these episodes at least
    :param store: that they were made of
    :param episodes: their numbers
    :param length: L, rows of a sequence
    :param batch_size: sequences
    :param rng: for starts and latents
    :raises ValueError: for latents of other episodes, or episodes without latents
    """

    def __init__(
        self,
        latents: LatentStore,
        store: FrameStore,
        episodes: Integers | Sequence[int],
        length: int,
        batch_size: int,
        rng: np.random.Generator,
    ) -> None:
        if length < 1 or batch_size < 1:
            raise ValueError(f"length={length!r}, batch_size={batch_size!r}: accepted are numbers from 1 up")
        latents.check_matches(store)
        self.latents, self.store, self.rng = latents, store, rng
        self.length, self.batch_size = length, batch_size
        self.episodes = latents.files.check(episodes)
        self._lengths = store.lengths[self.episodes]
        self._terminated = np.array([store.files.rows[number]["terminated"] for number in self.episodes], bool)
        self._ends = (self._lengths + length - 1).cumsum()  # of each episode, in a row of all starts

    def sample(self) -> SequenceBatch:
        """A batch of sequences, drawn with replacement."""
        drawn = self.rng.integers(self._ends[-1], size=self.batch_size)
        which = np.searchsorted(self._ends, drawn, side="right")
        length = self._lengths[which]
        before = self._ends[which] - length - (self.length - 1)
        starts = np.clip(drawn - before - (self.length - 1), 0, np.maximum(length - self.length, 0))

        steps = starts[:, None] + np.arange(self.length + 1)  # batch x L + 1
        there = steps <= length[:, None]
        episodes = self.episodes[which, None]
        frames = np.minimum(steps, length[:, None])
        mean, log_std = (
            self.latents.files.gather(name, episodes, frames).astype(np.float32) for name in ("mean", "log_std")
        )
        z = mean + np.exp(log_std) * self.rng.standard_normal(mean.shape, dtype=np.float32)
        for array in (z, mean, log_std):
            array[~there] = 0

        mask = there[:, 1:]  # there is a row where there is a next frame
        rows = np.minimum(steps[:, :-1], length[:, None] - 1)
        actions = np.where(mask[..., None], self._vectors(self.store.files.gather("actions", episodes, rows)), 0)
        rewards = np.where(mask, self.store.files.gather("rewards", episodes, rows), 0)
        dones = (steps[:, :-1] == length[:, None] - 1) & self._terminated[which, None]
        arrays = (z, mean, log_std, actions, rewards, dones, mask, starts)
        return SequenceBatch(*(th.from_numpy(array) for array in arrays))

    def _vectors(self, actions: Array) -> Array:
        """Actions as (batch, L, act_dim), float32: discrete ones one-hot."""
        if self.store.discrete:
            one_hot: Array = np.eye(self.store.act_dim, dtype=np.float32)[actions - self.store.actions["start"]]
            return one_hot
        return actions.reshape(*actions.shape[:2], self.store.act_dim)
