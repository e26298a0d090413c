"""Batches of sequences for a recurrent model."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch as th

from ardae_rl.common.checks import check_count
from ardae_rl.world_models.data.episode_files import Array, Integers
from ardae_rl.world_models.data.frame_store import FrameStore
from ardae_rl.world_models.data.latent_store import LatentStore


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences of L steps, each within one episode. Action t was taken at z_t and led to z_{t+1}, reward t and done t.

    Entries beyond the end of an episode are zero or False.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.data import SequenceBatch
    >>> z, actions, rewards, flags = th.zeros(2, 6, 4), th.zeros(2, 5, 1), th.zeros(2, 5), th.zeros(2, 5).bool()
    >>> batch = SequenceBatch(z, z, z, actions, rewards, dones=flags, mask=~flags)
    >>> batch.to("cpu").z.shape
    torch.Size([2, 6, 4])
    """

    z: th.Tensor  # (batch, L + 1, z_dim), samples of the posteriors
    mean: th.Tensor  # (batch, L + 1, z_dim)
    log_std: th.Tensor  # (batch, L + 1, z_dim)
    actions: th.Tensor  # (batch, L, act_dim)
    rewards: th.Tensor  # (batch, L)
    dones: th.Tensor  # (batch, L), bool: whether z_{t+1} is terminal; False where an episode was truncated
    mask: th.Tensor  # (batch, L), bool: whether the episode has this step

    def to(self, device: th.device | str) -> "SequenceBatch":
        """Return the batch on another device."""
        return SequenceBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class SequenceSampler:
    """Samples sequences from episodes.

    A start is drawn uniformly between L - 1 steps before the episode and its last step, and then moved so that the
    sequence lies within the episode, if that is long enough. Hence the first and last steps are sampled no less often
    than those in the middle of a long episode, and no step is sampled three times as often as another.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_rl.world_models.data import Episode, FrameStore, LatentStore, SequenceSampler
    >>> folder = tempfile.TemporaryDirectory()
    >>> store = FrameStore(Path(folder.name) / "frames", (4, 4, 3), spaces.Box(-1, 1, (1,)), preprocessing="none")
    >>> frames, actions = np.zeros((9, 4, 4, 3), np.uint8), np.zeros((8, 1), np.float32)
    >>> number = store.append(Episode(frames, actions, np.ones(8, np.float32), True, seed=0, policy="Zero", info={}))
    >>> latents = LatentStore(Path(folder.name) / "latents", z_dim=2, fingerprint="by hand")
    >>> number = latents.append(np.zeros((9, 2)), np.zeros((9, 2)), seed=0)
    >>> sampler = SequenceSampler(latents, store, [0], length=5, batch_size=3, rng=np.random.default_rng(0))
    >>> batch = sampler.sample()
    >>> batch.z.shape, batch.rewards.shape
    (torch.Size([3, 6, 2]), torch.Size([3, 5]))

    :param latents: Posteriors of the frames, at least of these episodes.
    :param store: Store of the episodes.
    :param episodes: Numbers of the episodes.
    :param length: Number L of steps in a sequence.
    :param batch_size: Number of sequences in a batch.
    :param rng: Source of randomness for starts and latents.
    :raises ValueError: For latents of other episodes, or episodes without latents.
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
        check_count("length", length)
        check_count("batch_size", batch_size)
        latents.check_matches(store)
        self.latents, self.store, self.rng = latents, store, rng
        self.length, self.batch_size = length, batch_size
        self.episodes = latents.files.check(episodes)
        self._lengths = store.lengths[self.episodes]
        self._terminated = np.array([store.files.rows[number]["terminated"] for number in self.episodes], bool)
        self._ends = (self._lengths + length - 1).cumsum()  # of each episode, when all starts are concatenated

    def sample(self) -> SequenceBatch:
        """Sample a batch of sequences with replacement."""
        drawn = self.rng.integers(self._ends[-1], size=self.batch_size)
        which = np.searchsorted(self._ends, drawn, side="right")
        length = self._lengths[which]
        before = self._ends[which] - length - (self.length - 1)
        starts = np.clip(drawn - before - (self.length - 1), 0, np.maximum(length - self.length, 0))

        steps = starts[:, None] + np.arange(self.length + 1)  # (batch, L + 1)
        exists = steps <= length[:, None]
        episodes = self.episodes[which, None]
        frames = np.minimum(steps, length[:, None])
        mean, log_std = (
            self.latents.files.gather(name, episodes, frames).astype(np.float32) for name in ("mean", "log_std")
        )
        z = mean + np.exp(log_std) * self.rng.standard_normal(mean.shape, dtype=np.float32)
        for array in (z, mean, log_std):
            array[~exists] = 0

        mask = exists[:, 1:]  # a step exists if its next frame does
        rows = np.minimum(steps[:, :-1], length[:, None] - 1)
        actions = np.where(mask[..., None], self._vectors(self.store.files.gather("actions", episodes, rows)), 0)
        rewards = np.where(mask, self.store.files.gather("rewards", episodes, rows), 0)
        dones = (steps[:, :-1] == length[:, None] - 1) & self._terminated[which, None]
        arrays = (z, mean, log_std, actions, rewards, dones, mask)
        return SequenceBatch(*(th.from_numpy(array) for array in arrays))

    def _vectors(self, actions: Array) -> Array:
        """Return actions as (batch, L, act_dim), float32; discrete ones are one-hot."""
        if self.store.discrete:
            return np.eye(self.store.act_dim, dtype=np.float32)[actions - self.store.actions["start"]]
        return actions.reshape(*actions.shape[:2], self.store.act_dim)
