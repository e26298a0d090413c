"""Sequences: every row belongs to its z, action, reward and end; no sequence crosses the end of an episode."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl.world_models.data import FrameStore, LatentStore, SequenceBatch, SequenceSampler, encode
from tests.world_models.counting import LIMIT, dies, reward, see, store_of

Made = tuple[FrameStore, LatentStore]


def made(folder: Path, discrete: bool = False, encode_fn: Any = see) -> Made:
    """Return twenty episodes of 3 to 12 steps."""
    store = store_of(folder / "frames", 20, discrete)
    return store, encode(store, encode_fn, folder / "latents", "abc")


def sampled(stores: Made, length: int, n: int = 400, episodes: Any = None, seed: int = 0) -> SequenceBatch:
    store, latents = stores
    chosen = range(20) if episodes is None else episodes
    return SequenceSampler(latents, store, chosen, length, n, np.random.default_rng(seed)).sample()


def is_aligned(z: Any, actions: Any, rewards: Any, dones: Any, mask: Any) -> dict[str, bool]:
    """Return which parts of a row belong to the row's z."""
    step, following = z[:, :-1].round(), z[:, 1:].round()
    vectors = actions if actions.shape[-1] == 2 else (actions @ th.tensor([[-1.0, 0], [0, 0], [1, 0]]))
    return {
        "z": bool(((following - step)[mask] == th.tensor([1.0, 0.0])).all()),
        "rewards": bool(th.isclose(rewards, reward(step[..., 0], vectors), atol=1e-4)[mask].all()),
        "dones": bool((dones == dies(step[..., 0], vectors))[mask].all()),
    }


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("length", [1, 4, LIMIT, 30])
def test_alignment(length: int, discrete: bool, tmp_path: Path) -> None:
    """(z_t, a_t) leads to z_{t+1}, r_t and d_t; a shift of any of these by one row would be noticed."""
    batch = sampled(made(tmp_path, discrete), length)
    parts = (batch.z, batch.actions, batch.rewards, batch.dones, batch.mask)
    assert is_aligned(*parts) == {"z": True, "rewards": True, "dones": True}
    assert batch.dones.any() and batch.actions.shape == (400, length, 3 if discrete else 2)
    if length == 1:
        return
    z, actions, rewards, dones, mask = parts
    both = mask[:, 1:]
    moved = {
        "z": (z[:, 1:], actions[:, :-1], rewards[:, :-1], dones[:, :-1], both),
        "actions": (z[:, :-1], actions[:, 1:], rewards[:, :-1], dones[:, :-1], both),
        "rewards": (z[:, :-1], actions[:, :-1], rewards[:, 1:], dones[:, :-1], both),
        "dones": (z[:, :-1], actions[:, :-1], rewards[:, :-1], dones[:, 1:], both),
    }
    for name, wrong in moved.items():
        aligned = is_aligned(*wrong)
        fooled = {"z": "rewards", "actions": "rewards"}.get(name, name)
        assert not aligned[fooled], f"{name} moved by a row"
    assert sum(is_aligned(*moved["z"]).values()) == sum(is_aligned(*moved["actions"]).values()) == 1, "only z fits z"


@pytest.mark.parametrize("length", [4, 30])
def test_ends(length: int, tmp_path: Path) -> None:
    """The frame after the last action is a next frame; nothing follows it, in particular not the next episode."""
    store, latents = made(tmp_path)
    batch = sampled((store, latents), length, n=2000)
    numbers = batch.mean[:, 0, 1].long()  # the seeds are the episodes' numbers
    lengths = th.from_numpy(store.lengths)[numbers]
    n_rows, starts = batch.mask.sum(1), batch.mean[:, 0, 0].long()  # the frames say where they are
    assert (batch.mask == (th.arange(length) < n_rows[:, None])).all(), "rows come first, and then padding"
    assert (n_rows == th.minimum(lengths - starts, th.tensor(length))).all()
    assert ((n_rows == length) | (starts == 0)).all(), "no padding where the episode is long enough"

    there = th.cat([th.ones(2000, 1, dtype=th.bool), batch.mask], 1)
    assert (batch.mean[..., 1][there] == numbers[:, None].expand(-1, length + 1)[there]).all(), "of one episode"
    for tensor in (batch.z, batch.mean, batch.log_std):
        assert (tensor[~there] == 0).all()
    assert (batch.actions[~batch.mask] == 0).all() and (batch.rewards[~batch.mask] == 0).all()
    assert not batch.dones[~batch.mask].any()

    last = starts + n_rows == lengths
    rows = th.arange(2000)
    assert set(numbers[last].tolist()) == set(range(20)), "the end of each episode comes up"
    assert (batch.mean[rows, n_rows, 0][last] == lengths[last]).all(), "with its last frame"
    terminated = th.tensor([episode.terminated for episode in store])
    assert 0 < terminated.sum() < 20
    assert (batch.dones[rows, n_rows - 1] == (terminated[numbers] & last)).all(), "not where it was cut off"
    assert not batch.dones[rows, n_rows - 2][n_rows > 1].any()


@pytest.mark.parametrize("length", [1, 3, 5, 30])
def test_no_row_is_neglected(length: int, tmp_path: Path) -> None:
    """First and last rows are sampled as often as others, and no row three times as often as another."""
    store, latents = made(tmp_path)
    n = 40_000
    batch = sampled((store, latents), length, n)
    rows = (100 * batch.mean[:, :-1, 1] + batch.mean[:, :-1, 0])[batch.mask].long()
    values, counts = rows.unique(return_counts=True)
    assert values.tolist() == [100 * k + t for k in range(20) for t in range(store.lengths[k])]
    expected = n * length / (store.lengths + length - 1).sum()
    assert counts.min() > expected * (1 - 6 / expected**0.5)
    assert counts.max() < 3 * expected * (1 + 6 / expected**0.5)


@pytest.mark.parametrize("length", [1, 5, 30])
def test_starts(length: int, tmp_path: Path) -> None:
    """Uniform from L - 1 rows before the episode to its last, moved into it: chi-square within four deviations."""
    store, latents = made(tmp_path)
    n = 40_000
    batch = sampled((store, latents), length, n)
    weights = np.zeros((20, LIMIT))
    for number, steps in enumerate(store.lengths):
        for start in range(1 - length, steps):
            weights[number, np.clip(start, 0, max(steps - length, 0))] += 1
    counts = np.zeros((20, LIMIT))
    np.add.at(counts, (batch.mean[:, 0, 1].long().numpy(), batch.mean[:, 0, 0].long().numpy()), 1)
    expected = n * weights / weights.sum()
    assert (counts[expected == 0] == 0).all()
    chi_square = ((counts - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    freedom = (expected > 0).sum() - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def noisy(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = see(frames)[0]
    return mean, np.log(np.full_like(mean, 0.5) * [1.0, 3.0])


def test_latents_are_drawn_anew(tmp_path: Path) -> None:
    """Each batch has new samples, from the posteriors that it contains."""
    store, latents = made(tmp_path, encode_fn=noisy)
    sampler = SequenceSampler(latents, store, [3], 3, 2000, np.random.default_rng(0))
    one, two = sampler.sample(), sampler.sample()
    assert (one.z != two.z).any(-1).all()
    noise = (one.z - one.mean) / one.log_std.exp()
    assert noise.mean().item() == pytest.approx(0, abs=0.03) and noise.std().item() == pytest.approx(1, abs=0.03)
    assert noise.mean((0, 1)).abs().max() < 0.05 and (noise.std((0, 1)) - 1).abs().max() < 0.05
    assert one.log_std.exp()[0, 0].tolist() == pytest.approx([0.5, 1.5], rel=1e-3)
    again = SequenceSampler(latents, store, [3], 3, 2000, np.random.default_rng(0)).sample()
    assert th.equal(again.z, one.z)


def test_shapes_and_types(tmp_path: Path) -> None:
    batch = sampled(made(tmp_path), 5, n=7)
    wanted: dict[str, tuple[tuple[int, ...], th.dtype]] = {
        "z": ((7, 6, 2), th.float32),
        "mean": ((7, 6, 2), th.float32),
        "log_std": ((7, 6, 2), th.float32),
        "actions": ((7, 5, 2), th.float32),
        "rewards": ((7, 5), th.float32),
        "dones": ((7, 5), th.bool),
        "mask": ((7, 5), th.bool),
    }
    for name, (shape, dtype) in wanted.items():
        tensor = getattr(batch, name)
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype), name
        assert getattr(batch.to("meta"), name).is_meta


def test_only_the_episodes_given(tmp_path: Path) -> None:
    batch = sampled(made(tmp_path), 4, episodes=[2, 17])
    assert set(batch.mean[:, 0, 1].long().tolist()) == {2, 17}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "`length` must be >= 1, got 0"),
        ({"batch_size": 0}, "`batch_size` must be >= 1, got 0"),
        ({"episodes": []}, r"`episodes` must be one or more integers from 0 to 19, got \[\]"),
        ({"episodes": [20]}, r"`episodes` must be one or more integers from 0 to 19, got \[20\]"),
        ({"episodes": np.array([0.5])}, "`episodes` must be one or more integers from 0 to 19"),
        ({"store": lambda folder: store_of(folder, 20, seed=9)}, "`latents` must be those of the episodes of"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    store, latents = made(tmp_path)
    other: Callable[[Path], FrameStore] | None = arguments.get("store")
    if other is not None:
        arguments = {"store": other(tmp_path / "other")}
    good: dict[str, Any] = {"latents": latents, "store": store, "episodes": [0], "length": 3, "batch_size": 2}
    with pytest.raises(ValueError, match=message):
        SequenceSampler(**(good | arguments), rng=np.random.default_rng(0))
