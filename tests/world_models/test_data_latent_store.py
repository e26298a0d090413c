"""Posteriors on disk: they belong to the right frames and vision model, and encoding is resumed."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl.world_models.data import FrameStore, LatentStore, encode, fingerprint
from tests.world_models.counting import files, see, store_of


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    return store_of(tmp_path / "frames", 12)


@pytest.mark.parametrize("batch_size", [1, 5, 1000])
def test_encode(batch_size: int, store: FrameStore, tmp_path: Path) -> None:
    """There is a posterior for each frame of each episode, including the last; batches have the given size."""
    sizes = []

    def measured(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(len(frames))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch's, of memory that is read-only
            th.from_numpy(frames)
        return see(frames)

    latents = encode(store, measured, tmp_path / "latents", "abc", batch_size)
    for opened in (latents, LatentStore(tmp_path / "latents")):
        assert (len(opened), opened.z_dim, opened.fingerprint) == (12, 2, "abc")
        np.testing.assert_array_equal(opened.lengths, store.lengths)
        for episode, (mean, log_std) in zip(store, (opened[k] for k in range(12)), strict=True):
            np.testing.assert_array_equal(mean, episode.frames[:, 0, 0, :2])
            assert (log_std == -12).all() and mean.dtype == log_std.dtype == np.float16
    assert isinstance(latents[0][0], np.memmap)
    assert max(sizes) <= batch_size and sum(sizes) == store.n_steps + 12 + 1


def test_interrupted_and_appended_to(store: FrameStore, tmp_path: Path) -> None:
    """Only missing episodes are encoded, and the result equals that of one call."""
    calls = 0

    def fails(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal calls
        calls += 1
        if calls == 6:  # one to know the size, and the fifth episode
            raise KeyboardInterrupt
        return see(frames)

    with pytest.raises(KeyboardInterrupt):
        encode(store, fails, tmp_path / "cut", "abc")
    assert len(LatentStore(tmp_path / "cut")) == 4
    encode(store, fails, tmp_path / "cut", "abc")
    assert calls == 6 + 1 + 8
    longer = store_of(tmp_path / "frames", 14)
    encode(longer, fails, tmp_path / "cut", "abc")
    assert calls == 15 + 1 + 2
    assert files(tmp_path / "cut") == files(encode(longer, see, tmp_path / "whole", "abc").folder)


def test_progress(store: FrameStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encode(store, see, tmp_path / "latents", "abc", progress=True)
    assert "12 of 12" in capsys.readouterr().out


def wide(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(frames), 5)), np.zeros((len(frames), 5))


def huge(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full((len(frames), 2), 1e6), np.zeros((len(frames), 2))


def short(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((len(frames), 2)), np.zeros((1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, to: encode(s, see, to, "def"), "`fingerprint` must be 'abc', as recorded in .*, got 'def'"),
        (lambda s, to: LatentStore(to, fingerprint="def"), "`fingerprint` must be 'abc', .*, got 'def'"),
        (lambda s, to: encode(s, wide, to, "abc"), "`z_dim` must be 2, as recorded in .*, got 5"),
        (lambda s, to: LatentStore(to.parent / "new"), "`fingerprint`, `z_dim` must be given for a new folder"),
        (lambda s, to: LatentStore(s.folder, 2, "abc"), "`content` must be 'frames', .*, got 'latents'"),
        (lambda s, to: FrameStore(to), "`content` must be 'latents', .*, got 'frames'"),
        (lambda s, to: encode(s, huge, to.parent / "new", "abc"), r"`mean` must be finite, got \d+ values"),
        (lambda s, to: encode(s, short, to.parent / "new", "abc"), "`log_std` must be float16 of shape .*, got"),
        (lambda s, to: encode(s, see, to, "abc", batch_size=0), "`batch_size` must be >= 1, got 0"),
        (lambda s, to: LatentStore(to, z_dim=0), "`z_dim` must be >= 1, got 0"),
    ],
)
def test_refused(call: Callable[[FrameStore, Path], Any], message: str, store: FrameStore, tmp_path: Path) -> None:
    encode(store, see, tmp_path / "latents", "abc")
    with pytest.raises(ValueError, match=message):
        call(store, tmp_path / "latents")


def test_another_stores_latents(store: FrameStore, tmp_path: Path) -> None:
    encode(store, see, tmp_path / "latents", "abc")
    other = store_of(tmp_path / "other", 12, seed=1)
    with pytest.raises(ValueError, match=r"`latents` must be those of the episodes of .*other"):
        encode(other, see, tmp_path / "latents", "abc")
    with pytest.raises(ValueError, match="`store` must have episodes, got an empty one"):
        encode(store_of(tmp_path / "empty", 0), see, tmp_path / "none", "abc")


def test_fingerprint() -> None:
    """It depends on every parameter, buffer, name, shape, dtype and the preprocessing, and on nothing else."""
    th.manual_seed(0)
    model = th.nn.Sequential(th.nn.Linear(3, 2), th.nn.BatchNorm1d(2))
    first = fingerprint(model, "crop")
    assert len(first) == 64 and fingerprint(model.eval(), "crop") == first
    assert fingerprint(model, "resize") != first
    seen = {first}
    state = model.state_dict()
    for name in state:
        changed = {key: value.clone() for key, value in state.items()}
        changed[name].view(-1)[-1] += 1
        model.load_state_dict(changed)
        seen.add(fingerprint(model, "crop"))
    model.load_state_dict(state)
    seen.add(fingerprint(model.to(th.bfloat16), "crop"))
    assert len(seen) == 2 + len(state)
