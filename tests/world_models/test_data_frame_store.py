"""Frames on disk: what was written is read after interruptions; refused folders; splits and samples."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from ardae_rl.world_models.data import Episode, FrameStore
from ardae_rl.world_models.data.episode_files import MAX_EPISODES
from tests.world_models.counting import BOX, SHAPE, files


def episode(number: int, length: int | None = None) -> Episode:
    """Return an episode whose frames show (step, episode), with a length that depends on the episode."""
    length = 3 + number % 4 if length is None else length
    rng = np.random.default_rng(number)
    frames = np.zeros((length + 1, *SHAPE), np.uint8)
    frames[..., 0], frames[..., 1] = np.arange(length + 1)[:, None, None], number
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    rewards = rng.standard_normal(length).astype(np.float32)
    return Episode(frames, actions, rewards, number % 2 == 0, 50 + number, "random", {"start": number})


def opened(folder: Path, **arguments: Any) -> FrameStore:
    return FrameStore(folder, SHAPE, BOX, "none", **{"shard_megabytes": 0.001, **arguments})


def filled(folder: Path, n: int, **arguments: Any) -> FrameStore:
    store = opened(folder, **arguments)
    for number in range(len(store), n):
        assert store.append(episode(number)) == number
    return store


def assert_holds(store: FrameStore, n: int) -> None:
    assert len(store) == n
    for number, found in enumerate(store):
        wanted = episode(number)
        for name in ("frames", "actions", "rewards"):
            got, expected = getattr(found, name), getattr(wanted, name)
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == expected.dtype
        assert found[3:] == wanted[3:]
    returns = [episode(number).rewards.sum(dtype=np.float64) for number in range(n)]
    np.testing.assert_allclose(store.returns, returns, rtol=1e-12)
    assert store.n_steps == store.lengths.sum() == sum(3 + number % 4 for number in range(n))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Episodes are read at once and after reopening, from several shards of bounded size, as views of the files."""
    store = filled(tmp_path / "new" / "store", 20)
    assert_holds(store, 20)
    sizes = [len(content) for name, content in files(store.folder).items() if "frames" in name]
    assert 2 < len(sizes) < 20 and max(sizes) <= 1000

    again = FrameStore(store.folder)
    assert_holds(again, 20)
    assert (again.frame_shape, again.preprocessing, again.act_dim, again.discrete) == (SHAPE, "none", 2, False)
    assert isinstance(again[3].frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again[3].frames[0] = 0


def test_a_view_outlives_what_is_appended(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, shard_megabytes=1)
    view = store[0].frames
    for number in range(1, 5):
        store.append(episode(number))
    np.testing.assert_array_equal(view, episode(0).frames)
    assert_holds(store, 5)


def test_an_index_stays_small(tmp_path: Path) -> None:
    """The number of episodes per shard is limited, also for short ones."""
    store = opened(tmp_path, shard_megabytes=1000)
    for number in range(MAX_EPISODES + 2):
        store.append(episode(number % 7, 1))
    assert {path.name for path in tmp_path.glob("*.frames")} == {"00000.frames", "00001.frames"}
    assert store[MAX_EPISODES + 1].info == {"start": (MAX_EPISODES + 1) % 7}


@pytest.mark.parametrize(("n", "n_steps"), [(5, 10), (6, 9)], ids=["last shard", "new shard"])
def test_a_kill_at_any_moment_costs_one_episode_at_most(
    n: int, n_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill the process before each of the steps in which an episode is written."""
    reference = files(filled(tmp_path / "whole", 9).folder)
    steps = 0
    killed_at: list[str] = []

    class Killed(Exception):
        pass

    def dangerous(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                killed_at.append(name)
                raise Killed
            return function(*args, **kwargs)

        return wrapped

    for kill in range(20):
        store = filled(tmp_path / f"{kill}", n)
        with monkeypatch.context() as patch:
            steps = kill
            patch.setattr(os, "fsync", dangerous("fsync", os.fsync))
            patch.setattr(Path, "replace", dangerous("replace", Path.replace))
            patch.setattr(Path, "open", dangerous("open", Path.open))
            try:
                store.append(episode(n))
            except Killed:
                assert_holds(store, n)
        survived = opened(store.folder)
        assert_holds(survived, n if steps < 0 else n + 1)
        assert files(filled(store.folder, 9).folder) == reference
        if steps >= 0:
            break
    assert set(killed_at) == {"fsync", "replace", "open"} and len(killed_at) == n_steps


@pytest.mark.parametrize("suffix", ["frames", "actions", "rewards"])
def test_half_of_an_episode_is_overwritten(suffix: str, tmp_path: Path) -> None:
    """This holds after the last episode of a shard, and in a shard without an index."""
    reference = files(filled(tmp_path / "whole", 9).folder)
    store = filled(tmp_path / "cut", 5)
    number = sum(name.endswith("json") for name in files(store.folder)) - 1  # one of them is the header
    for shard in (number - 1, number):
        with (store.folder / f"{shard:05d}.{suffix}").open("ab") as file:
            file.write(bytes(range(200)))
    (store.folder / f"{number:05d}.json.tmp").write_text('{"episodes": [')
    assert_holds(opened(store.folder), 5)
    assert files(filled(store.folder, 9).folder) == reference


def test_a_store_that_never_got_its_header_is_new(tmp_path: Path) -> None:
    (tmp_path / "header.json.tmp").write_text('{"fra')
    assert_holds(filled(tmp_path, 3), 3)


def test_damage_is_refused(tmp_path: Path) -> None:
    """Unlike a kill, it removes data that the index refers to."""
    store = filled(tmp_path, 9)
    path = store.folder / "00001.actions"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"`folder` must have \d+ bytes or more in .*00001.actions, got \d+"):
        FrameStore(tmp_path)
    (tmp_path / "00000.json").unlink()
    with pytest.raises(ValueError, match=r"`folder` must have the indices of all shards, got"):
        FrameStore(tmp_path)


@pytest.mark.parametrize("content", ["", '{"episodes": [', "[]", "{}"])
def test_damaged_indices_are_named(content: str, tmp_path: Path) -> None:
    """Both when a store is opened and when it is appended to."""
    store = filled(tmp_path, 2)
    (tmp_path / "00000.json").write_text(content)
    message = (
        rf"`folder` must have intact files, got a damaged {tmp_path}/00000\.json; .* delete {tmp_path} to start over"
    )
    with pytest.raises(ValueError, match=message):
        opened(tmp_path)
    with pytest.raises(ValueError, match=message):
        store.append(episode(2))


def test_two_that_append(tmp_path: Path) -> None:
    """The second process to append is refused, and destroys nothing."""
    for before in (2, 3):  # so that the next one goes into the last shard, or a new one
        folder = tmp_path / str(before)
        mine, other = filled(folder, before), opened(folder)
        mine.append(episode(before))
        with pytest.raises(ValueError, match="`folder` must be appended to by one process at a time, got two in"):
            other.append(episode(before))
        assert_holds(opened(folder), before + 1)
        assert_holds(other, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"frame_shape": (8, 8, 3)},
            r"`frame_shape` must be \[4, 4, 3\], as recorded in .*store",
        ),
        (
            {"action_space": spaces.Box(-1, 1, (3,))},
            r"`action_space` must be {'shape': \[2\]}, as recorded in .*, got {'shape': \[3\]}",
        ),
        (
            {"action_space": spaces.Discrete(2)},
            r"`action_space` must be {'shape': \[2\]}, as recorded in .*, got {'n': 2, 'start': 0}",
        ),
        ({"preprocessing": "crop"}, "`preprocessing` must be 'none', as recorded in .*, got 'crop'"),
    ],
)
def test_a_folder_of_other_frames_is_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = filled(tmp_path / "store", 1).folder
    with pytest.raises(ValueError, match=message):
        FrameStore(folder, **arguments)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`frame_shape`, `action_space`, `preprocessing` must be given"):
        FrameStore(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"`folder` must be empty or .* which has other files"):
        opened(tmp_path)


GOOD = episode(0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            GOOD._replace(frames=GOOD.frames[:-1]),
            r"`frames` must be uint8 of .*, got uint8 of \(3, 4, 4, 3\)",
        ),
        (GOOD._replace(frames=GOOD.frames.astype(float)), "`frames` must be uint8 .*, got float64"),
        (
            GOOD._replace(actions=GOOD.actions[:, :1]),
            r"`actions` must be float32 of shape \(3, 2.*, got float32 of \(3, 1\)",
        ),
        (GOOD._replace(actions=GOOD.actions * np.nan), "`actions` must be finite, got 6 values that are not"),
        (
            GOOD._replace(rewards=GOOD.rewards * np.float32(np.inf)),
            "`rewards` must be finite, got 3 values that are not",
        ),
        (
            Episode(GOOD.frames[:1], GOOD.actions[:0], GOOD.rewards[:0], False, 0, "", {}),
            "`length` must be >= 1",
        ),
        (GOOD._replace(info={"start": GOOD.frames}), "`row` must be serializable as JSON"),
    ],
)
def test_bad_episodes(bad: Episode, message: str, tmp_path: Path) -> None:
    """They are refused before anything is written."""
    store = filled(tmp_path, 2)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=message):
        store.append(bad)
    assert files(tmp_path) == before
    assert_holds(filled(tmp_path, 4), 4)


def test_split(tmp_path: Path) -> None:
    """Episodes are split with the given share, independently of later ones; other seeds give other splits."""
    store = opened(tmp_path, shard_megabytes=10)
    for _ in range(150):
        store.append(GOOD)
    train, validation = store.split(0.2, seed=3)
    for _ in range(150):
        store.append(GOOD)
    later_train, later_validation = opened(tmp_path).split(0.2, seed=3)
    np.testing.assert_array_equal(later_train[later_train < 150], train)
    np.testing.assert_array_equal(later_validation[later_validation < 150], validation)
    assert sorted([*later_train, *later_validation]) == list(range(300))
    assert 40 < len(later_validation) < 80
    assert set(store.split(0.2, seed=4)[1]) != set(later_validation)
    assert len(store.split(0.0)[1]) == 0


def seen(frames: np.ndarray) -> np.ndarray:
    """Return (episode, step) of frames, as one number each."""
    return frames[:, 0, 0, 1].astype(int) * 100 + frames[:, 0, 0, 0]


def test_sampling_is_uniform(tmp_path: Path) -> None:
    """Sampling is uniform over frames, not over episodes: chi-square within four standard deviations."""
    store, chosen = filled(tmp_path, 12), [1, 2, 6, 11]
    possible = {100 * k + t for k in chosen for t in range(3 + k % 4)}
    frames = store.sample_frames(np.random.default_rng(0), 20_000, chosen)
    values, counts = np.unique(seen(frames), return_counts=True)
    assert set(values) == possible and frames.shape == (20_000, *SHAPE)
    expected, freedom = 20_000 / len(possible), len(possible) - 1
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store[4], r"`episodes` must be one or more integers from 0 to 3, got \[4\]"),
        (lambda store: store[-1], r"`episodes` must be one or more integers from 0 to 3, got \[-1\]"),
        (
            lambda store: store.sample_frames(np.random.default_rng(0), 2, [0, 4]),
            r"`episodes` must be one or more integers from 0 to 3, got \[0, 4\]",
        ),
        (
            lambda store: store.sample_frames(np.random.default_rng(0), 2, []),
            r"`episodes` must be one or more integers .*, got \[\]",
        ),
        (lambda store: store.sample_frames(np.random.default_rng(0), 0), "`n` must be >= 1, got 0"),
        (lambda store: store.split(1.0), "`validation_share` must be >= 0 and < 1, got 1.0"),
        (lambda store: store.files.gather("actions", np.array([0]), np.array([3])), "`steps` must be row numbers of"),
        (lambda store: opened(store.folder, shard_megabytes=0), "`shard_megabytes` must be positive, got 0"),
        (
            lambda store: FrameStore(store.folder, (64, 64)),
            r"`frame_shape` must be \(height, width, 3\)",
        ),
        (
            lambda store: FrameStore(store.folder, action_space=spaces.MultiBinary(2)),
            "`action_space` must be Box or Discrete, got",
        ),
    ],
)
def test_bad_arguments(call: Callable[[FrameStore], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        call(filled(tmp_path, 4))
