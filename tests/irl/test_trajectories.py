"""Demonstrations: collected from models, in files, and in Minari datasets."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

from ardae_envs.absorbing import AbsorbingState
from ardae_rl.irl import (
    Trajectory,
    check_demonstrations,
    collect_demonstrations,
    load_trajectories,
    save_trajectories,
)
from ardae_rl.irl.trajectories import with_absorbing_states
from tests.conftest import untrained
from tests.irl.counting import Counting


class Always:
    """Stand-in for a model that always takes one action."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def predict(self, observation: Any, state: Any, starts: Any, deterministic: bool) -> tuple[Any, Any]:
        return np.repeat(np.asarray(self.action)[None], len(starts), 0), state


def collected(n_episodes: int, n_envs: int = 1, **arguments: Any) -> list[Trajectory]:
    model: Any = Always(np.array([0.5], np.float32))
    return collect_demonstrations(model, make_vec_env(lambda: Counting(**arguments), n_envs), n_episodes)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_rows_belong_together(n_envs: int) -> None:
    """Action t leads from observation t to t + 1; the last observation belongs to the same episode."""
    for trajectory in collected(3, n_envs):
        assert len(trajectory) == 5 and not trajectory.terminated
        assert isinstance(trajectory.observations, np.ndarray) and trajectory.rewards is not None
        np.testing.assert_array_equal(trajectory.observations[:, 0], np.arange(6))
        np.testing.assert_array_equal(trajectory.actions, np.full((5, 1), 0.5))
        np.testing.assert_array_equal(trajectory.rewards, np.arange(1, 6))


@pytest.mark.parametrize("n_envs", [1, 2, 5])
def test_collected_episodes_are_reported(n_envs: int) -> None:
    """Those beyond the share of an environment do not count."""
    model: Any = Always(np.array([0.5], np.float32))
    venv, counts = make_vec_env(Counting, n_envs), list[int]()
    assert len(collect_demonstrations(model, venv, 3, on_episode=counts.append)) == 3
    assert counts == [1, 2, 3]


@pytest.mark.parametrize("convert", [th.as_tensor, np.ndarray.tolist])
def test_arrays_of_other_kinds(convert: Callable[[Any], Any]) -> None:
    observations, actions = np.arange(8.0).reshape(4, 2), np.arange(3.0)[:, None]
    episode = Trajectory(convert(observations), convert(actions), convert(actions[:, 0]))
    by_key = Trajectory({"a": convert(observations)}, convert(actions))
    assert isinstance(by_key.observations, dict)
    for converted, original in (
        (episode.observations, observations),
        (episode.actions, actions),
        (episode.rewards, actions[:, 0]),
        (by_key.observations["a"], observations),
    ):
        assert isinstance(converted, np.ndarray)
        np.testing.assert_array_equal(converted, original)


def test_terminations() -> None:
    ended, cut_off = collected(1, ends=True)[0], collected(1)[0]
    assert ended.terminations.tolist() == [False, False, True] and not cut_off.terminations.any()


def test_real_environment_and_seed() -> None:
    model = untrained("sac", seed=0)
    first, again, other = (
        collect_demonstrations(model, gym.make("Pendulum-v1"), 1, True, seed=s)[0] for s in (1, 1, 2)
    )
    assert len(first) == 200 and first.rewards is not None and first.rewards.max() <= 0
    np.testing.assert_equal(first.observations, again.observations)
    np.testing.assert_equal(first.rewards, again.rewards)
    assert other.rewards is not None and not np.array_equal(first.rewards, other.rewards)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("with_rewards", [False, True])
def test_files(as_dict: bool, with_rewards: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kept = []
    for n in (3, 1, 4):
        seen: Any = rng.random((n + 1, 2))
        if as_dict:
            seen = {"observation": seen, "goal": rng.integers(9, size=(n + 1, 2, 2))}
        kept.append(Trajectory(seen, rng.random((n, 1)), rng.random(n) if with_rewards else None, n == 1))
    save_trajectories(tmp_path / "folder/demos.npz", kept)
    loaded = load_trajectories(tmp_path / "folder/demos.npz")
    for a, b in zip(kept, loaded, strict=True):
        np.testing.assert_equal(a.observations, b.observations)
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_equal(a.rewards, b.rewards)
        assert a.terminated == b.terminated


def test_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset written by Minari itself."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari")
    seen = np.random.default_rng(0).random((4, 4)).astype(np.float32)
    episode = minari.data_collector.EpisodeBuffer(
        observations=seen,
        actions=np.array([0, 1, 0]),
        rewards=np.arange(3.0),
        terminations=np.array([False, False, True]),
        truncations=np.zeros(3, bool),
    )
    minari.create_dataset_from_buffers(
        "test/cart-v0", [episode], env=gym.make("CartPole-v1"), author="nobody", description="one episode"
    )
    (trajectory,) = load_trajectories("minari:test/cart-v0")
    np.testing.assert_array_equal(trajectory.observations, seen)
    np.testing.assert_equal(trajectory.rewards, np.arange(3.0))
    assert trajectory.terminated and trajectory.actions.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="`demonstrations` must be a local Minari dataset, got 'test/other-v0'"):
        load_trajectories("minari:test/other-v0")
    check_demonstrations("minari:test/cart-v0")
    nested = minari.data_collector.EpisodeBuffer(**(vars(episode) | {"observations": {"a": {"b": seen}}}))
    spaces = gym.spaces.Dict({"a": gym.spaces.Dict({"b": gym.spaces.Box(-10, 10, (4,))})}), gym.spaces.Discrete(2)
    minari.create_dataset_from_buffers(
        "test/nested-v0", [nested], observation_space=spaces[0], action_space=spaces[1], author="nobody"
    )
    with pytest.raises(ValueError, match=r"`demonstrations` must be a Minari dataset whose .* 'test/nested-v0'"):
        load_trajectories("minari:test/nested-v0")
    with pytest.raises(ValueError, match="got 'test/other-v0'"):
        check_demonstrations("minari:test/other-v0")


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`observations` must have 4 rows for 3 actions, got 3"):
        Trajectory(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="`rewards` must have 3 rows for 3 actions, got 2"):
        Trajectory(np.zeros((4, 1)), np.zeros((3, 1)), np.zeros(2))
    with pytest.raises(ValueError, match="`actions` must have at least one row, got 0"):
        Trajectory(np.zeros((1, 1)), np.zeros((0, 1)))
    arguments: Any
    for arguments, message in (
        ((None, np.zeros((3, 1))), "`observations` must be an array, got a NoneType"),
        (({"a": 1.5}, np.zeros((3, 1))), "`observations/a` must be an array, got a float"),
        ((np.zeros((4, 1)), {"a": np.zeros((3, 1))}), "`actions` must be an array, got a dict"),
    ):
        with pytest.raises(TypeError, match=message):
            Trajectory(*arguments)
    with pytest.raises(ValueError, match="`trajectories` must have at least one trajectory, got none"):
        save_trajectories(tmp_path / "a.npz", [])
    with pytest.raises(ValueError, match=r"`trajectories` must all have rewards or all have none, got .* in 1 of 2"):
        a = Trajectory(np.zeros((2, 1)), np.zeros((1, 1)), np.zeros(1))
        save_trajectories(tmp_path / "a.npz", [a, Trajectory(a.observations, a.actions)])
    with pytest.raises(ValueError, match=r"`demonstrations` must be .* got no file .*nowhere\.npz"):
        load_trajectories(tmp_path / "nowhere.npz")
    np.savez(tmp_path / "other.npz", lengths=np.zeros(1))
    with pytest.raises(ValueError, match=r"other\.npz without actions, observations, terminated"):
        load_trajectories(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"got no file .*nowhere\.npz"):
        check_demonstrations(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=r"`demonstrations` must be an .npz file of trajectories, got .*text\.npz"):
        check_demonstrations(tmp_path / "text.npz")
    with pytest.raises(ValueError, match="`n_episodes` must be >= 1, got 0"):
        collect_demonstrations(untrained("sac"), gym.make("Pendulum-v1"), 0)


def test_absorbing_states() -> None:
    """The wrapper yields the same episode from the same actions."""
    env, wrapped = gym.make("CartPole-v1"), AbsorbingState(gym.make("CartPole-v1"))
    (trajectory,) = collect_demonstrations(Always(np.array(1)), env, 1, seed=3)  # type: ignore[arg-type]
    assert trajectory.terminated
    extended = with_absorbing_states(trajectory, env.action_space)
    (expected,) = collect_demonstrations(Always(np.array(1)), wrapped, 1, seed=3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(extended.observations, expected.observations)
    np.testing.assert_equal(extended.rewards, expected.rewards)
    assert not extended.terminated and (extended.actions[: len(trajectory)] == 1).all()
    cut_off = collected(1)[0]
    unchanged = with_absorbing_states(cut_off, env.action_space)
    assert len(unchanged) == len(cut_off) == 5 and not np.asarray(unchanged.observations)[:, -1].any()


@pytest.mark.parametrize("damage", ["empty", "cut", "garbled", "text", "objects", "folder", "version"])
def test_files_that_cannot_be_read(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "demos.npz"
    save_trajectories(path, [Trajectory(np.random.default_rng(0).normal(size=(400, 3)), np.zeros((399, 1)))])
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "objects":
        objects: Any = np.array([{}], dtype=object)
        np.savez(path, lengths=objects, terminated=objects, actions=objects)
    else:
        middle = len(data) // 2
        damaged = {
            "empty": b"",
            "cut": data[:middle],
            "garbled": data[:middle] + bytes(200) + data[middle + 200 :],
            "text": b"no arrays",
            # Of an archive for a later version of zip, which is the 7th byte of an entry of its directory
            "version": re.sub(rb"(?s)(PK\x01\x02..).", lambda found: found[1] + b"\xff", data),
        }
        path.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=r"`demonstrations` must be an \.npz file of trajectories"):
        load_trajectories(path)


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("lengths", [3, 3], "terminated has 3 rows instead of 2"),
        ("lengths", [3, 1, 5], "actions has 8 rows instead of 9"),
        ("terminated", [True], "terminated has 1 rows instead of 3"),
        ("actions", np.zeros((9, 1)), "actions has 9 rows instead of 8"),
        ("observations", np.zeros((12, 2)), "observations has 12 rows instead of 11"),
        ("rewards", np.zeros(7), "rewards has 7 rows instead of 8"),
    ],
)
def test_files_whose_lengths_do_not_add_up(name: str, rows: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "demos.npz"
    save_trajectories(path, [Trajectory(np.zeros((n + 1, 2)), np.zeros((n, 1)), np.zeros(n)) for n in (3, 1, 4)])
    with np.load(path) as file:
        arrays: dict[str, Any] = dict(file)
    np.savez(path, **(arrays | {name: np.asarray(rows)}))
    with pytest.raises(ValueError, match=rf"`demonstrations` must be an \.npz file .*demos\.npz, in which {words}"):
        load_trajectories(path)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    given: Any
    plain, named = (Trajectory(part, np.zeros((2, 1))) for part in (np.zeros((3, 1)), {"a": np.zeros((3, 1))}))
    for given, error, words in (
        (plain, TypeError, "`trajectories` must be a sequence of trajectories, got a Trajectory"),
        ([plain, "b"], TypeError, r"`trajectories\[1\]` must be a Trajectory, got a str"),
        (
            [plain, named],
            ValueError,
            r"`trajectories\[1\]` must have observations, as the first one has, got observations/a",
        ),
    ):
        with pytest.raises(error, match=words):
            save_trajectories(tmp_path / "demos.npz", given)
    assert not any(tmp_path.iterdir())


def test_normalized_observations_are_not_recorded() -> None:
    """A VecNormalize within another wrapper would lead to that."""
    hidden = VecMonitor(VecNormalize(make_vec_env("Pendulum-v1")))
    with pytest.raises(ValueError, match=r"VecNormalize as its outermost wrapper, got it within VecMonitor"):
        collect_demonstrations(SAC("MlpPolicy", "Pendulum-v1", buffer_size=10), hidden, 1)
