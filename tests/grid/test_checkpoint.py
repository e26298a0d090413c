"""Checkpoints: complete or missing, equal to what was saved, and written once."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_vec_env

from ardae_rl.grid import checkpoint
from ardae_rl.grid.segment import start_segment

N_ROWS = 20
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "n-step": {"n_steps": 3},
    "without next observations": {
        "optimize_memory_usage": True,
        "replay_buffer_kwargs": {"handle_timeout_termination": False},
    },
}


class KilledError(Exception):
    pass


def kill(*_: Any) -> None:
    raise KilledError


def collector(buffer_size: int = 1000, n_envs: int = 1, **arguments: Any) -> SAC:
    """Return a model that collects random transitions and makes no gradient steps."""
    small: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"}
    env = make_vec_env("Pendulum-v1", n_envs, seed=0)
    return SAC("MlpPolicy", env, buffer_size=buffer_size, learning_starts=10**6, **small, **arguments)


def learn(model: SAC, n_rows: int, seed: int = 0) -> None:
    """Add rows to the buffer, as a segment of a run does."""
    start_segment(model, seed)
    model.learn(n_rows * model.n_envs, reset_num_timesteps=False)


def saved(model: SAC, folder: Path) -> Path:
    """Save a checkpoint, and return its folder, the only one."""
    checkpoint.save(model, {}, folder)
    (path,) = checkpoint.checkpoints(folder)
    return path


def buffer_of(model: Any) -> ReplayBuffer:
    return checkpoint.replay_buffer(model)


def contents(model: Any) -> dict[str, Any]:
    """Return copies of what the replay buffer has."""
    kept = vars(buffer_of(model)).items()
    return {name: np.copy(value) for name, value in kept if isinstance(value, np.ndarray) or name in ("pos", "full")}


def parts(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, time of the last change, and size of the files with the rows of a checkpoint's buffer."""
    files = [(file, file.stat()) for file in path.glob("rows_*.npz")]
    return {file.name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for file, stat in files}


def test_a_checkpoint_takes_the_room_of_its_transitions(tmp_path: Path) -> None:
    """A buffer for a million transitions takes hundreds of megabytes, even while it is nearly empty."""
    model = collector(1_000_000)
    learn(model, 30)
    assert sum(size for *_, size in parts(saved(model, tmp_path)).values()) < 10_000
    loaded, _ = checkpoint.load(SAC, "Pendulum-v1", tmp_path / "checkpoint_30")
    assert buffer_of(loaded).size() == 30
    np.testing.assert_array_equal(buffer_of(loaded).next_observations[:31], buffer_of(model).next_observations[:31])


@pytest.mark.parametrize("n_envs", [1, 2])
def test_only_new_transitions_are_written(n_envs: int, tmp_path: Path) -> None:
    """The parts of earlier checkpoints remain as they are, also in the process that resumes the run."""
    model: Any = collector(2000, n_envs)
    before: dict[str, tuple[int, int, int]] = {}
    written = []
    for k in range(6):
        if k == 3:
            model, _ = checkpoint.load(SAC, make_vec_env("Pendulum-v1", n_envs), checkpoint.checkpoints(tmp_path)[0])
        learn(model, 100)
        after = parts(saved(model, tmp_path))
        assert before.items() < after.items()
        written.append(sum(after[name][-1] for name in after if name not in before))
        before = after
    row = sum(array[0].nbytes for array in contents(model).values() if array.ndim)
    assert max(written) < 102 * row + 2000, "besides the rows, a file has 1.5 kB"


def test_a_full_buffer_keeps_the_parts_that_it_still_needs(tmp_path: Path) -> None:
    model = collector(buffer_size=100)
    for _ in range(12):
        learn(model, 30)
        path = saved(model, tmp_path)
        np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(model))
    assert buffer_of(model).full
    assert len(parts(path)) <= 6  # 4 segments of 30 rows have 100; two parts were split where the buffer starts over
    assert all(file.stat().st_nlink == 1 for file in path.iterdir())


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_the_saved_one(kind: str, n_envs: int, tmp_path: Path) -> None:
    """Numbers of new rows that fill the buffer to its last row, beyond it, and several times over."""
    model: Any = collector(N_ROWS * n_envs, n_envs, **KINDS[kind])
    for k, n_rows in enumerate([3, 1, 15, 1, 1, 19, 20, 1, 50, 12, 5]):
        learn(model, n_rows)
        path = saved(model, tmp_path)
        loaded, _ = checkpoint.load(SAC, make_vec_env("Pendulum-v1", n_envs), path)
        np.testing.assert_equal(contents(loaded), contents(model))
        for before, after in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
            assert th.equal(before, after)
        if k % 3 == 2:
            model = loaded


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_tiny_buffer(size: int, tmp_path: Path) -> None:
    model = collector(size)
    path = saved(model, tmp_path)
    for n_rows in (1, 1, 1, 1, 2, 3, 1, 1):
        np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(model))
        learn(model, n_rows)
        path = saved(model, tmp_path)
    np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(model))


def test_what_does_not_continue_the_earlier_checkpoint_is_written_anew(tmp_path: Path) -> None:
    """Another model, and a buffer that was emptied meanwhile."""
    earlier, model = collector(), collector()
    learn(earlier, 50, seed=1)
    saved(earlier, tmp_path)
    learn(model, 60, seed=2)
    path = saved(model, tmp_path)
    np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(model))
    buffer_of(model).reset()
    learn(model, 10)
    path = saved(model, tmp_path)
    loaded = buffer_of(checkpoint.load(SAC, "Pendulum-v1", path)[0])
    assert loaded.size() == 10
    np.testing.assert_array_equal(loaded.actions[:10], buffer_of(model).actions[:10])


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no links")

    monkeypatch.setattr(os, "link", refuse)
    model = collector()
    for _ in range(3):
        learn(model, 10)
        path = saved(model, tmp_path)
    np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(model))


def test_a_checkpoint_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a crash of the machine could leave a part of it, after the earlier one has been deleted."""
    synced: set[int] = set()
    model = collector()

    def sync(file: int) -> None:
        assert [path.name for path in checkpoint.checkpoints(tmp_path)] == earlier
        synced.add(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fsync", sync)
    for earlier in ([], ["checkpoint_30"]):
        learn(model, 30)
        files = [path.stat().st_ino for path in saved(model, tmp_path).iterdir()]
        assert len(files) == 4 + len(earlier) and set(files) <= synced


@pytest.mark.parametrize("function", ["save_buffer", "write_json"])
def test_a_kill_before_a_checkpoint_counts_leaves_the_former(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill comes after this function has written its files: the new part, or all of the new checkpoint."""
    original = getattr(checkpoint, function)

    def kill_after(*arguments: Any) -> None:
        original(*arguments)
        kill()

    model = collector()
    learn(model, 30)
    saved(model, tmp_path)
    before = contents(model)
    learn(model, 30)
    monkeypatch.setattr(checkpoint, function, kill_after)
    with pytest.raises(KilledError):
        checkpoint.save(model, {}, tmp_path)
    monkeypatch.undo()
    assert (tmp_path / "unfinished_checkpoint/rows_29_61.npz").exists()
    (path,) = checkpoint.checkpoints(tmp_path)
    resumed: Any = checkpoint.load(SAC, make_vec_env("Pendulum-v1"), path)[0]
    np.testing.assert_equal(contents(resumed), before)
    learn(resumed, 40)
    path = saved(resumed, tmp_path)
    assert path.name == "checkpoint_70" and list(tmp_path.iterdir()) == [path]
    np.testing.assert_equal(contents(checkpoint.load(SAC, "Pendulum-v1", path)[0]), contents(resumed))


def test_a_partly_deleted_checkpoint_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(collector(), tmp_path)

    def partly(folder: Path, **_: Any) -> None:
        if folder.exists():
            next(folder.iterdir()).unlink()
            raise KilledError

    monkeypatch.setattr(shutil, "rmtree", partly)
    with pytest.raises(KilledError):
        checkpoint.delete(path)
    assert any(folder.is_dir() for folder in tmp_path.iterdir()), "a part of it is still there"
    assert checkpoint.checkpoints(tmp_path) == []


@pytest.mark.parametrize("name", ["rows.json", "rows_0_31.npz", "rows_29_61.npz"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "changed"])
def test_damage_is_named(name: str, damage: str, tmp_path: Path) -> None:
    model = collector()
    for _ in range(2):
        learn(model, 30)
        file = saved(model, tmp_path) / name
    content = file.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    file.unlink()
    if damage != "missing":
        file.write_bytes({"cut": content[:middle], "empty": b"", "changed": changed}[damage])
    message = rf"`checkpoint` must be intact, got a missing or damaged .*{name}; delete .*checkpoint_60 to start over"
    with pytest.raises(ValueError, match=message):
        checkpoint.load(SAC, "Pendulum-v1", file.parent)


@pytest.mark.filterwarnings("error:`n_steps")
def test_a_checkpoint_with_n_step_returns(tmp_path: Path) -> None:
    """The buffer has the same arrays; samples of the loaded one are those of the first."""
    model = SAC("MlpPolicy", "Pendulum-v1", seed=0, buffer_size=100, learning_starts=25, n_steps=3, device="cpu")
    model.learn(30)
    checkpoint.save(model, {}, tmp_path)
    loaded, _ = checkpoint.load(SAC, "Pendulum-v1", tmp_path / "checkpoint_30")
    assert isinstance(loaded.replay_buffer, NStepReplayBuffer) and isinstance(model.replay_buffer, NStepReplayBuffer)
    samples = []
    for buffer in (model.replay_buffer, loaded.replay_buffer):
        np.random.seed(0)
        samples.append(buffer.sample(8))
    for before, after in zip(*samples, strict=True):
        th.testing.assert_close(after, before)
