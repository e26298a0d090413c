"""IDX files written by hand, binarizations with known means, splits, and batches that can be continued."""

import gzip
import hashlib
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
import torch as th

from experiments.ardae_paper.mnist import dbmnist, sbmnist
from experiments.ardae_paper.mnist.__main__ import main
from experiments.ardae_paper.mnist.data import (
    IMAGE_FILES,
    batches,
    check_files,
    load_images,
    load_split,
    pixel_source,
    read_idx,
)
from experiments.ardae_paper.mnist.table import KEY


def idx_content(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 60 training and 10 test images of 4 x 4 pixels, one file compressed and one plain."""
    generator = np.random.default_rng(0)
    train, test = (generator.integers(0, 256, (n, 4, 4), dtype=np.uint8) for n in (60, 10))
    names = list(IMAGE_FILES)
    (tmp_path / f"{names[0]}.gz").write_bytes(gzip.compress(idx_content(train)))
    (tmp_path / names[1]).write_bytes(idx_content(test))
    return tmp_path


def test_idx_by_hand(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    plain, compressed = tmp_path / "plain", tmp_path / "compressed.gz"
    plain.write_bytes(idx_content(array))
    compressed.write_bytes(gzip.compress(idx_content(array)))
    checksum = hashlib.sha256(idx_content(array)).hexdigest()
    assert (read_idx(plain, checksum) == array).all() and (read_idx(compressed, checksum) == array).all()
    with pytest.raises(ValueError, match="`path` must have the SHA-256 checksum 0123, got"):
        read_idx(plain, "0123")
    plain.write_bytes(b"\0\0\x0d\x01")
    with pytest.raises(ValueError, match="`path` must be an IDX file of unsigned bytes"):
        read_idx(plain)


def test_missing_and_wrong_files(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no file train-images-idx3-ubyte or .*download"):
        load_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="checksum"):
        load_images(folder)
    with pytest.raises(ValueError, match="`binarization` must be one of 'dynamic', 'fixed', got 'static'"):
        load_split(folder, "static", check=False)


def test_dynamic_split(folder: Path) -> None:
    images, _ = load_images(folder, check=False)
    split = load_split(folder, "dynamic", check=False)
    assert [len(part) for part in split] == [55, 5, 10]
    assert th.equal(split.train[:50], images[:50]) and 0 <= split.train.min() and split.train.max() <= 1
    assert set(split.valid.unique().tolist()) == set(split.test.unique().tolist()) == {0.0, 1.0}
    rows = {tuple(row) for row in images[50:].tolist()}
    assert all(tuple(row) in rows for row in split.train[50:].tolist())


def test_fixed_split(folder: Path) -> None:
    first, again, other = (load_split(folder, "fixed", seed, check=False) for seed in (0, 0, 1))
    assert [len(part) for part in first] == [50, 10, 10]
    assert th.equal(first.train, again.train) and not th.equal(first.train, other.train)


def write_amat(folder: Path, **images: np.ndarray) -> None:
    for part, array in images.items():
        np.savetxt(folder / f"binarized_mnist_{part}.amat", array, fmt="%d")


def test_files_of_larochelle_and_murray(folder: Path) -> None:
    zeros, ones = np.zeros((2, 4)), np.ones((2, 4))
    assert pixel_source(folder, "fixed") == "seed"
    write_amat(folder, train=zeros, valid=ones, test=zeros)
    assert (pixel_source(folder, "fixed"), pixel_source(folder, "dynamic")) == ("larochelle", "seed")
    split = load_split(folder, "fixed", check=False)
    assert [part.tolist() for part in split] == [zeros.tolist(), ones.tolist(), zeros.tolist()]
    with pytest.raises(ValueError, match=r"must have the shape \(50000, 784\), got \(2, 4\)"):
        load_split(folder, "fixed")
    write_amat(folder, valid=2 * ones)
    with pytest.raises(ValueError, match="must have the values 0 and 1 only"):
        load_split(folder, "fixed", check=False)


def test_some_files_of_larochelle_and_murray(folder: Path) -> None:
    write_amat(folder, train=np.zeros((2, 4)), test=np.zeros((2, 4)))
    for read in (check_files, load_split):
        with pytest.raises(FileNotFoundError, match=r"has some of the three .*, but not binarized_mnist_valid\.amat"):
            read(folder, "fixed")
    check_files(folder, "dynamic")


def test_pixels_are_a_part_of_settings_and_key(folder: Path) -> None:
    assert "pixels" in KEY
    assert {each["pixels"] for each in sbmnist.runs("quick", 1, data=str(folder))} == {"seed"}
    write_amat(folder, **{part: np.zeros((2, 4)) for part in ("train", "valid", "test")})
    assert {each["pixels"] for each in sbmnist.runs("quick", 1, data=str(folder))} == {"larochelle"}
    assert {each["pixels"] for each in dbmnist.runs("quick", 1, data=str(folder))} == {"seed"}


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "usage: python -m experiments.ardae_paper.mnist" in capsys.readouterr().err


def test_batches_are_drawn_anew_and_can_be_continued() -> None:
    images = th.linspace(0, 1, 20).unsqueeze(1).expand(20, 500)
    drawn = list(itertools.islice(batches(images, 5, seed=0), 12))
    means = th.cat([batch.mean(1) for batch in drawn[:4]])
    assert th.allclose(means.sort().values, images[:, 0], atol=0.08), "an epoch has each image once"
    assert not th.equal(drawn[0], drawn[4])
    continued = list(itertools.islice(batches(images, 5, seed=0, start=6), 6))
    assert all(th.equal(one, other) for one, other in zip(drawn[6:], continued, strict=True))
