"""Collection: all transitions are real, and the store does not depend on how it was filled."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

from ardae_envs.collection import Mixture, RandomWeights, StickyRandom
from ardae_envs.frames import crop_bar, resize
from ardae_rl.world_models.data import FrameStore, collect, frame_shape
from ardae_rl.world_models.data.playing import play
from tests.world_models.counting import BOX, DISCRETE, LIMIT, SHAPE, Counting, dies, files, reward, store_of


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_transitions(n_envs: int, discrete: bool, tmp_path: Path) -> None:
    """Row t is (frame t, action t, reward t, frame t + 1); seeds are in order, ends are recorded."""
    store = store_of(tmp_path, 20, discrete, n_envs=n_envs, seed=30)
    assert len(store) == 20 and len(set(store.lengths)) > 3
    for number, episode in enumerate(store):
        length = len(episode.rewards)
        np.testing.assert_array_equal(episode.frames[:, 0, 0, 0], np.arange(length + 1))
        assert (episode.frames[..., 1] == 30 + number).all() and (episode.frames[..., 2] == 7).all()
        actions = np.asarray(episode.actions)
        assert actions.dtype == (np.int64 if discrete else np.float32)
        vectors = np.stack([actions, 0 * actions], 1) if discrete else actions
        np.testing.assert_allclose(episode.rewards, reward(np.arange(length), vectors), rtol=1e-6)
        died = dies(np.arange(length), vectors)
        assert died[-1] == episode.terminated and not died[:-1].any()
        assert episode.terminated or length == LIMIT
        assert (episode.seed, episode.policy, episode.info) == (30 + number, "StickyRandom", {"start": 130 + number})
    ends = {episode.terminated for episode in store}
    assert ends == {True, False}


def interrupted(folder: Path, after: int, n_envs: int) -> None:
    """Run a collection of 15 episodes that is killed after some steps."""

    class Killed(Exception):
        pass

    def on_step(n: int) -> bool:
        nonlocal after
        after -= n
        if after < 0:
            raise Killed
        return True

    with pytest.raises(Killed):
        store_of(folder, 15, on_step=on_step, n_envs=n_envs)


def test_one_store_on_all_ways(tmp_path: Path) -> None:
    """The store does not depend on the number of environments and on interruptions, but on the seed."""
    whole = files(store_of(tmp_path / "whole", 15).folder)
    assert files(store_of(tmp_path / "four", 15, n_envs=4).folder) == whole
    for after, n_envs in ((5, 1), (20, 3), (20, 1), (15, 2)):
        interrupted(tmp_path / "cut", after, n_envs)
    assert 0 < len(FrameStore(tmp_path / "cut")) < 15
    assert files(store_of(tmp_path / "cut", 15, n_envs=2).folder) == whole
    assert files(store_of(tmp_path / "cut", 15).folder) == whole, "nothing is left to do"
    assert files(store_of(tmp_path / "other", 15, seed=1).folder) != whole


class Blind:
    """Divides by zero."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        actions = np.zeros((len(observation), 2), np.float32)
        actions[-1] = np.nan
        return actions, state


class Counts:
    """A recurrent policy without a generator, whose action is the number of its calls in the episode."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, bool]] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        self.batches.append((len(observation), deterministic))
        state = np.zeros(len(observation)) if state is None else np.where(episode_start, 0, state)
        assert (observation[:, 0, 0, 0] == state).all() or len(self.batches) > 15, "frames of the same step"
        action = np.stack([np.zeros(len(observation)), state / 100], 1).astype(np.float32)
        return action, state + 1


def test_a_recurrent_policy_acts_on_all_at_once(tmp_path: Path) -> None:
    """Its state is reset with each episode, for that environment alone; the batch size is constant."""
    policy = Counts()
    store = FrameStore(tmp_path, SHAPE, BOX, "none")
    n_steps = collect(store, Counting, policy, n_episodes=8, n_envs=3)
    for episode in store:
        np.testing.assert_allclose(episode.actions[:, 1], np.arange(LIMIT) / 100, rtol=1e-6)
        assert episode.policy == "Counts"
    assert set(policy.batches) == {(3, False)}
    assert len(policy.batches) == 3 * LIMIT and n_steps == store.n_steps == 8 * LIMIT


def test_a_mixture_is_reseeded_with_all_it_mixes(tmp_path: Path) -> None:
    """The given policy itself does not change."""
    stores = []
    for name, n_envs in (("a", 1), ("b", 4)):
        policy = Mixture([StickyRandom(BOX, seed=0), Counts(), RandomWeights(BOX, seed=0)], seed=0)
        states = [policy.rng.bit_generator.state, policy.policies[0].rng.bit_generator.state]  # type: ignore[attr-defined]
        store = FrameStore(tmp_path / name, SHAPE, BOX, "none")
        collect(store, Counting, policy, n_episodes=12, n_envs=n_envs)
        assert states == [policy.rng.bit_generator.state, policy.policies[0].rng.bit_generator.state]  # type: ignore[attr-defined]
        stores.append(files(store.folder))
    assert stores[0] == stores[1]
    first_actions = {tuple(episode.actions[0].tolist()) for episode in FrameStore(tmp_path / "a")}
    assert len(first_actions) > 4


def test_stops(tmp_path: Path) -> None:
    """It stops when the callback returns False."""
    store, calls = FrameStore(tmp_path, SHAPE, BOX, "none"), 0

    def on_step(n: int) -> bool:
        nonlocal calls
        calls += 1
        return calls < 40

    made = collect(store, Counting, StickyRandom(BOX), n_episodes=1000, n_envs=2, on_step=on_step)
    assert made == 80 and 0 < store.n_steps <= 80


def test_preprocess_sees_the_batch(tmp_path: Path) -> None:
    """It receives the frames of all environments at once; the policy receives the original ones."""
    sizes: list[int] = []

    def small(frames: np.ndarray) -> np.ndarray:
        sizes.append(len(frames))
        return frames[:, ::2, :1]

    store = FrameStore(tmp_path, frame_shape(Counting(), small), BOX, "every second row")
    assert store.frame_shape == (2, 1, 3)
    collect(store, Counting, Counts(), n_episodes=4, n_envs=2, preprocess=small)
    assert sizes[2:] == [2] * 2 * (LIMIT + 1), "after the two looks at its shape"
    assert (store[3].frames[:, 1, 0, 0] == np.arange(LIMIT + 1)).all()


def test_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_of(tmp_path, 3, progress=True)
    assert "3 of 3" in capsys.readouterr().out


class Signals(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-1, 1, (4,))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": Blind()}, r"`policy` must return finite actions, got \[\[.*nan.* from Blind"),
        ({"policy": Blind(), "n_envs": 2}, r"(?s)`policy` must return finite actions, got .* from Blind"),
        ({"n_envs": 0}, "`n_envs` must be >= 1, got 0"),
        ({"make_env": Signals}, r"`observation_space` must be a uint8 Box .*, got Box\(-1.0, 1.0, \(4,\), float32\)"),
        (
            {"make_env": partial(Counting, True)},
            r"the store's action space, {'shape': \[2\]}, got {'n': 3, 'start': -1}",
        ),
        ({"preprocess": crop_bar}, "`rows` must be between 0 and 3, got 12"),
        (
            {"preprocess": partial(crop_bar, rows=1)},
            r"must return frames of shape \(4, 4, 3\), got \(3, 4, 3\)",
        ),
        ({"preprocess": lambda frames: frames / 255}, "`preprocess` must return uint8 of shape .*, got float64"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    store = FrameStore(tmp_path, SHAPE, BOX, "none")
    good: dict[str, Any] = {"make_env": Counting, "policy": StickyRandom(BOX), "n_episodes": 2}
    with pytest.raises(ValueError, match=message):
        collect(store, **(good | arguments))
    assert len(store) == 0


def test_other_actions_than_the_environments(tmp_path: Path) -> None:
    """A policy for another action space returns actions that the store refuses."""
    store = FrameStore(tmp_path, SHAPE, BOX, "none")
    with pytest.raises(ValueError, match=r"`actions` must be float32 of shape \(\d+, 2\), got float32"):
        collect(store, Counting, StickyRandom(spaces.Box(-1, 1, (3,))), n_episodes=1)


def test_environments_are_closed(tmp_path: Path) -> None:
    """They are closed at the end, and after errors."""
    closed: list[bool] = []

    class Watched(Counting):
        def close(self) -> None:
            closed.append(True)

    store = FrameStore(tmp_path, SHAPE, BOX, "none")
    collect(store, Watched, StickyRandom(BOX), n_episodes=2, n_envs=3)
    assert len(closed) == 3
    with pytest.raises(ValueError, match="finite"):
        collect(store, Watched, Blind(), n_episodes=4, n_envs=2)
    assert len(closed) == 5


def test_play_gives_episodes_in_the_order_of_their_seeds() -> None:
    """The first episode is the longest. If few episodes are requested, no others are started."""
    seeds = iter([3, 1, 2, 5, 4])
    played = play([Counting(True), Counting(True)], StickyRandom(DISCRETE), seeds)
    assert [next(played).seed for _ in range(3)] == [3, 1, 2]
    played.close()
    assert len(list(seeds)) <= 1
    assert list(play([Counting()], StickyRandom(BOX), [])) == []


def _small_image(frames: np.ndarray) -> np.ndarray:
    return resize(crop_bar(frames), 64)


def test_car_racing(tmp_path: Path) -> None:
    """Frames are those of the environment, and the start tile is recorded."""

    def make(name: str = "RandomStart") -> gym.Env[Any, Any]:
        return gym.make(f"ardae_envs:ardae/CarRacing{name}-v0", max_episode_steps=4)

    fast: Callable[[], gym.Env[Any, Any]] = partial(make, "Fast")
    env = fast()
    store = FrameStore(tmp_path / "fast", frame_shape(env, _small_image), env.action_space, "crop_bar, resize 64")
    policy = StickyRandom(env.action_space)
    collect(store, fast, policy, n_episodes=3, n_envs=2, preprocess=_small_image, seed=5)
    assert store.frame_shape == (64, 64, 3) and store.lengths.tolist() == [4, 4, 4]
    frames = [env.reset(seed=6)[0]] + [env.step(action)[0] for action in store[1].actions]
    np.testing.assert_array_equal(store[1].frames, _small_image(np.stack(frames)))
    assert not store[1].terminated
    env.close()

    model = PPO("CnnPolicy", fast(), n_steps=8, batch_size=8, device="cpu", seed=0)
    collect(store, fast, model, n_episodes=5, n_envs=2, preprocess=_small_image, seed=5)
    assert [episode.policy for episode in store] == ["StickyRandom"] * 3 + ["PPO"] * 2

    starts = FrameStore(tmp_path / "starts", (96, 96, 3), policy.action_space, "none")
    collect(starts, make, policy, n_episodes=2)
    assert [set(episode.info) for episode in starts] == [{"start"}] * 2
