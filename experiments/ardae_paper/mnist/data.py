"""MNIST from the original IDX files, its binarizations and its splits."""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch as th

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.optional import require

# SHA-256 of the uncompressed files: recompression changes the checksum of a compressed file, but not its contents
IMAGE_FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
# Larochelle and Murray's files with their numbers of images
FIXED_FILES = {
    "binarized_mnist_train.amat": 50_000,
    "binarized_mnist_valid.amat": 10_000,
    "binarized_mnist_test.amat": 10_000,
}
BINARIZATIONS = ("dynamic", "fixed")


class Split(NamedTuple):
    """Training, validation and test images, each (n, n_pixels), with values in [0, 1]."""

    train: th.Tensor
    valid: th.Tensor
    test: th.Tensor


def read_idx(path: Path, checksum: str | None = None) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file (LeCun's format), which may be compressed by gzip.

    :param path: The file.
    :param checksum: SHA-256 of the uncompressed file.
    :raises ValueError: For a wrong checksum, or a file that is not in this format.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if checksum is not None and (actual := hashlib.sha256(content).hexdigest()) != checksum:
        raise ValueError(f"`path` must have the SHA-256 checksum {checksum}, got {actual} of {path}")
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"`path` must be an IDX file of unsigned bytes, got {path}")
    n_dims = content[3]
    shape = np.frombuffer(content, ">u4", n_dims, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims).reshape(shape)


def check_files(folder: Path, binarization: str) -> None:
    """Check that the files are there, before any work starts.

    :param folder: Folder of the files.
    :param binarization: "dynamic" or "fixed".
    :raises FileNotFoundError: If one is missing.
    """
    if pixel_source(folder, binarization) == "seed":
        for name in IMAGE_FILES:
            _find(folder, name)


def pixel_source(folder: Path, binarization: str) -> str:
    """Return where binary pixels come from: "larochelle" for files of Larochelle and Murray (2011), otherwise "seed".

    :param folder: Folder of the files.
    :param binarization: "dynamic", whose pixels never come from these files, or "fixed".
    :raises FileNotFoundError: If the folder has only some of the three files.
    """
    missing = [name for name in FIXED_FILES if not (folder / name).exists()]
    if binarization == "dynamic" or len(missing) == len(FIXED_FILES):
        return "seed"
    if missing:
        raise FileNotFoundError(
            f"{folder} has some of the three files of Larochelle and Murray, but not {missing[0]}. Put all three "
            "there, or none"
        )
    return "larochelle"


def load_images(folder: Path, *, check: bool = True) -> tuple[th.Tensor, th.Tensor]:
    """Return the training images (60,000, 784) and the test images (10,000, 784), with values in [0, 1].

    :param folder: Folder with the IDX files of the images, plain or with the ending .gz.
    :param check: Whether to compare the checksums of MNIST; False for other images in these files.
    :raises FileNotFoundError: If a file is missing.
    """
    arrays = [read_idx(_find(folder, name), checksum if check else None) for name, checksum in IMAGE_FILES.items()]
    train, test = (th.from_numpy(array.astype(np.float32) / 255).flatten(1) for array in arrays)
    return train, test


def download(folder: Path) -> None:
    """Download MNIST's IDX files into ``folder`` through torchvision."""
    require("torchvision", "vision")
    from torchvision.datasets import MNIST

    MNIST(str(folder / "torchvision"), download=True)
    for path in (folder / "torchvision" / "MNIST" / "raw").glob("*-ubyte"):
        path.replace(folder / path.name)


def load_split(folder: Path, binarization: str, seed: int = 0, *, check: bool = True) -> Split:
    """Return the images of an experiment.

    "dynamic" follows Mescheder et al. (2017): of the 60,000 training images, the last 10,000 are validation images, of
    which a random half is added to the others for training. Training images keep their gray values, from which
    :func:`batches` draws pixels anew in every epoch; validation and test images are drawn once.

    "fixed" has 50,000, 10,000 and 10,000 binary images. They are those of Larochelle and Murray (2011) if the folder
    has the files binarized_mnist_train.amat, ..._valid.amat and ..._test.amat; otherwise each pixel is drawn once, from
    the seed. The two have the same distribution, but not the same images.

    :param folder: Folder of the files.
    :param binarization: "dynamic" or "fixed".
    :param seed: Seed of the draws and of the split.
    :param check: Whether to compare the checksums of MNIST, or the sizes of Larochelle and Murray's files.
    :raises FileNotFoundError: If a file is missing.
    :raises ValueError: For files with other contents.
    """
    check_choice("binarization", binarization, BINARIZATIONS)
    if pixel_source(folder, binarization) == "larochelle":
        return Split(*(_read_amat(folder / name, n if check else None) for name, n in FIXED_FILES.items()))
    images, test = load_images(folder, check=check)
    generator = th.Generator().manual_seed(seed)
    n_valid = len(images) // 6
    train, valid = images[:-n_valid], images[-n_valid:]
    if binarization == "dynamic":
        order = th.randperm(n_valid, generator=generator)
        train = th.cat([train, valid[order[: n_valid // 2]]])
        valid = valid[order[n_valid // 2 :]]
    else:
        train = binarize(train, generator)
    return Split(train, binarize(valid, generator), binarize(test, generator))


def generated_split(n_images: int = 64) -> Split:
    """Return random binary images instead of MNIST's, for runs that only check whether everything works."""
    generator = th.Generator().manual_seed(0)
    return Split(*(binarize(th.full((n_images, 784), 0.2), generator) for _ in range(3)))


def binarize(images: th.Tensor, generator: th.Generator | None = None) -> th.Tensor:
    """Return binary images whose pixels are one with the probabilities ``images``."""
    return th.bernoulli(images, generator=generator)


def batches(images: th.Tensor, batch_size: int, seed: int, start: int = 0) -> Iterator[th.Tensor]:
    """Yield minibatches of binary images without end; each epoch has its own order and its own draws.

    :param images: (n, n_pixels), with values in [0, 1]. Binary images stay as they are.
    :param batch_size: Number of images in a batch. An incomplete last batch of an epoch is dropped.
    :param seed: Seed of order and draws.
    :param start: Number of batches to skip.
    """
    check_count("batch_size", batch_size)
    per_epoch = len(images) // batch_size
    check_count("len(images) // batch_size", per_epoch)
    while True:
        epoch, first = divmod(start, per_epoch)
        generator = th.Generator(images.device).manual_seed(seed * 1_000_003 + epoch)
        order = th.randperm(len(images), generator=generator, device=images.device)
        for k in range(per_epoch):
            batch = binarize(images[order[k * batch_size : (k + 1) * batch_size]], generator)
            if k >= first:  # earlier draws are repeated, so that a resumed run sees the same images
                yield batch
        start = (epoch + 1) * per_epoch


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} has no file {name} or {name}.gz of MNIST. Put the original files there, or download them with "
        f"python -m experiments.ardae_paper.mnist {folder} (pip install 'ardae-rl[vision]')"
    )


def _read_amat(path: Path, n_images: int | None) -> th.Tensor:
    array = np.loadtxt(path, dtype=np.float32)
    if n_images is not None and array.shape != (n_images, 784):
        raise ValueError(f"`path` must have the shape ({n_images}, 784), got {array.shape} of {path}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"`path` must have the values 0 and 1 only, got others in {path}")
    return th.from_numpy(array)
