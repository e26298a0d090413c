"""A vision model's posteriors of all frames of a store, on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.checks import check_count
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.data.episode_files import EpisodeFiles, Field, Integers, settle_header
from ardae_rl.world_models.data.frame_store import Frames, FrameStore

Array = NDArray[Any]
Encode = Callable[[Frames], tuple[Array, Array]]


class LatentStore:
    """A folder of Gaussian posteriors: means and log standard deviations, (T + 1, z_dim) float16 for each episode.

    Example:

    >>> import tempfile
    >>> import numpy as np
    >>> from ardae_rl.world_models.data import LatentStore
    >>> folder = tempfile.TemporaryDirectory()
    >>> latents = LatentStore(folder.name, z_dim=4, fingerprint="by hand")
    >>> latents.append(mean=np.zeros((3, 4)), log_std=np.ones((3, 4)), seed=0)
    0
    >>> latents.lengths
    array([2])

    :param folder: Folder of the posteriors; created if missing.
    :param z_dim: Dimension of the latent; None to take it from an existing folder.
    :param fingerprint: Fingerprint of the encoder, see :func:`fingerprint`; None to take it from an existing folder.
    :raises ValueError: For a folder that was made with other arguments, or is damaged.
    """

    def __init__(self, folder: str | Path, z_dim: int | None = None, fingerprint: str | None = None) -> None:
        if z_dim is not None:
            check_count("z_dim", z_dim)
        self.folder = Path(folder)
        header = settle_header(self.folder, {"content": "latents", "fingerprint": fingerprint, "z_dim": z_dim})
        self.z_dim: int = header["z_dim"]
        self.fingerprint: str = header["fingerprint"]
        field = Field("float16", (self.z_dim,), extra=1)
        self.files = EpisodeFiles(self.folder, {"mean": field, "log_std": field}, 1e9)

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.files)

    def __getitem__(self, episode: int) -> tuple[Array, Array]:
        """Return the means and log standard deviations of an episode, as views of the files.

        :raises ValueError: If there is no such episode.
        """
        return self.files.array("mean", episode), self.files.array("log_std", episode)

    @property
    def lengths(self) -> Integers:
        """Number of steps of each episode, one less than the number of its posteriors."""
        return self.files.lengths

    def append(self, mean: Array, log_std: Array, seed: int) -> int:
        """Write an episode to the disk.

        :param mean: Means (T + 1, z_dim).
        :param log_std: Log standard deviations (T + 1, z_dim).
        :param seed: Seed of the episode.
        :return: Number of the episode.
        :raises ValueError: For other shapes, or numbers outside of float16's range.
        """
        with np.errstate(over="ignore"):  # overflow gives infinity, which is refused
            arrays = {"mean": np.asarray(mean, np.float16), "log_std": np.asarray(log_std, np.float16)}
        return self.files.append(arrays, {"length": len(mean) - 1, "seed": seed})

    def check_matches(self, store: FrameStore) -> None:
        """:raises ValueError: Unless these are posteriors of the first episodes of this store."""
        ours = [(row["length"], row["seed"]) for row in self.files.rows]
        theirs = [(row["length"], row["seed"]) for row in store.files.rows]
        if ours != theirs[: len(ours)]:
            raise ValueError(f"`latents` must be those of the episodes of {store.folder}, got {self.folder}")


def encode(
    store: FrameStore,
    encode_fn: Encode,
    folder: str | Path,
    fingerprint: str,
    batch_size: int = 256,
    progress: bool = False,
) -> LatentStore:
    """Return the posteriors of all frames of a store, after encoding the episodes that the folder does not have yet.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import gymnasium as gym
    >>> import numpy as np
    >>> from ardae_envs.collection import StickyRandom
    >>> from ardae_rl.world_models.data import FrameStore, collect, encode
    >>> def make_env():
    ...     return gym.make("ardae/CarRacingFast-v0", max_episode_steps=5)
    >>> def brightness(frames):
    ...     mean = frames.mean((1, 2, 3))[:, None]
    ...     return mean, np.zeros_like(mean)
    >>> actions, folder = make_env().action_space, tempfile.TemporaryDirectory()
    >>> store = FrameStore(Path(folder.name) / "frames", (96, 96, 3), actions, preprocessing="none")
    >>> n_steps = collect(store, make_env, StickyRandom(actions, seed=0), n_episodes=2)
    >>> latents = encode(store, brightness, Path(folder.name) / "latents", fingerprint="brightness")
    >>> len(latents), latents[0][0].shape
    (2, (6, 1))

    :param store: Store of the frames.
    :param encode_fn: Function that returns means and log standard deviations, (n, z_dim) each, for frames (n, height,
        width, 3).
    :param folder: Folder of the posteriors; created if missing.
    :param fingerprint: Fingerprint of ``encode_fn``, see :func:`fingerprint`.
    :param batch_size: Maximum number of frames encoded at once.
    :param progress: Whether to show a progress bar.
    :raises ValueError: If the folder belongs to another vision model or another store, or if the store is empty.
    """
    check_count("batch_size", batch_size)
    if not len(store):
        raise ValueError(f"`store` must have episodes, got an empty one, {store.folder}")
    z_dim = encode_fn(np.array(store[0].frames[:1]))[0].shape[-1]
    latents = LatentStore(folder, z_dim, fingerprint)
    latents.check_matches(store)
    with progress_bar("episodes encoded", len(store), progress) as update:
        for number in range(len(latents), len(store)):
            update(number)
            episode = store[number]
            starts = range(0, len(episode.frames), batch_size)
            # Copies, because torch warns about read-only memory
            parts = [encode_fn(np.array(episode.frames[start : start + batch_size])) for start in starts]
            means, log_stds = zip(*parts, strict=True)
            latents.append(np.concatenate(means), np.concatenate(log_stds), episode.seed)
        update(len(store))
    return latents


def fingerprint(vision: th.nn.Module, preprocessing: str) -> str:
    """Return the SHA-256 of a model's parameters and buffers, and of the preprocessing, in hexadecimal.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.data import fingerprint
    >>> fingerprint(th.nn.Identity(), "none")[:8]
    '140bedbf'
    """
    digest = hashlib.sha256(preprocessing.encode())
    for name, value in sorted(vision.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(th.uint8).numpy().tobytes())
    return digest.hexdigest()
