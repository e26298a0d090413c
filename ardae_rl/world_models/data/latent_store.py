"""What a vision model makes of a store's frames: a normal posterior for each, on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.checks import check_positive
from ardae_rl.runs.progress import progress_bar
from ardae_rl.world_models.data.episode_files import EpisodeFiles, Field, Integers, settle_header
from ardae_rl.world_models.data.frame_store import Frames, FrameStore

Array = NDArray[Any]
Encode = Callable[[Frames], tuple[Array, Array]]


class LatentStore:
    """A folder of posteriors, mean and logarithm of the standard deviation, (T + 1, z_dim) float16 an episode.

    :param folder: made if missing
    :param z_dim: None for what the folder has
    :param fingerprint: of what made them, see :func:`fingerprint`; None for what the folder has
    :raises ValueError: for a folder that was made with other arguments, or is damaged
    """

    def __init__(self, folder: str | Path, z_dim: int | None = None, fingerprint: str | None = None) -> None:
        if z_dim is not None:
            check_positive("z_dim", z_dim)
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
        """Mean and logarithm of the standard deviation, views of the files.

        :raises ValueError: if there is no such episode
        """
        return self.files.array("mean", episode), self.files.array("log_std", episode)

    @property
    def lengths(self) -> Integers:
        """Steps of each episode, one less than its posteriors."""
        return self.files.lengths

    def append(self, mean: Array, log_std: Array, seed: int) -> int:
        """Write an episode to the disk, and give its number.

        :param mean: (T + 1, z_dim)
        :param log_std: (T + 1, z_dim)
        :param seed: that it was played with
        :raises ValueError: for other shapes, or numbers that float16 does not hold
        """
        with np.errstate(over="ignore"):  # infinite then, and refused
            arrays = {"mean": np.asarray(mean, np.float16), "log_std": np.asarray(log_std, np.float16)}
        return self.files.append(arrays, {"length": len(mean) - 1, "seed": seed})

    def check_matches(self, store: FrameStore) -> None:
        """:raises ValueError: unless these are posteriors of the first episodes of this store"""
        ours = [(row["length"], row["seed"]) for row in self.files.rows]
        theirs = [(row["length"], row["seed"]) for row in store.files.rows]
        if ours != theirs[: len(ours)]:
            raise ValueError(f"latents of {self.folder}: accepted are those of the episodes of {store.folder}")


def encode(
    store: FrameStore,
    encode_fn: Encode,
    folder: str | Path,
    fingerprint: str,
    batch_size: int = 256,
    progress: bool = False,
) -> LatentStore:
    """Posteriors of all frames of a store; those episodes that the folder has already are left as they are.

    :param encode_fn: mean and logarithm of the standard deviation, (n, z_dim) each, of frames (n, height, width, 3)
    :param folder: made if missing
    :param fingerprint: of what ``encode_fn`` does, see :func:`fingerprint`
    :param batch_size: the most frames given to ``encode_fn`` at once
    :param progress: whether to show a progress bar
    :raises ValueError: if the folder is another vision model's, or another store's, or there is nothing to encode
    """
    check_positive("batch_size", batch_size)
    if not len(store):
        raise ValueError(f"store={str(store.folder)!r} is empty: accepted are stores with episodes")
    z_dim = encode_fn(np.array(store[0].frames[:1]))[0].shape[-1]
    latents = LatentStore(folder, z_dim, fingerprint)
    latents.check_matches(store)
    with progress_bar("episodes encoded", len(store), progress) as update:
        for number in range(len(latents), len(store)):
            update(number)
            episode = store[number]
            starts = range(0, len(episode.frames), batch_size)
            # Copies, as torch warns of memory that it may not write to
            parts = [encode_fn(np.array(episode.frames[start : start + batch_size])) for start in starts]
            means, log_stds = zip(*parts, strict=True)
            latents.append(np.concatenate(means), np.concatenate(log_stds), episode.seed)
        update(len(store))
    return latents


def fingerprint(vision: th.nn.Module, preprocessing: str) -> str:
    """A number (sha256, hexadecimal) that changes with any parameter or buffer of a model, or the preprocessing."""
    digest = hashlib.sha256(preprocessing.encode())
    for name, value in sorted(vision.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(th.uint8).numpy().tobytes())
    return digest.hexdigest()
