"""Variants of CarRacing: starts, tracks, laps, and the environment checks of Gymnasium and SB3."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing
from gymnasium.utils.env_checker import check_env as gymnasium_check
from scipy.stats import chisquare
from stable_baselines3.common.env_checker import check_env as sb3_check
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

import ardae_envs  # noqa: F401
from ardae_envs.actions import OneAxisToDiscrete, SteerAndPedal
from ardae_envs.car_racing_random_start import RENDERERS, make

IDS = ("ardae/CarRacingFast-v0", "ardae/CarRacingLowRes-v0", "ardae/CarRacingRandomStart-v0")


def test_low_resolution_resembles_the_official_frames() -> None:
    """Frames differ by a few percent of 255 on average; rewards are equal."""
    environments = gym.make("CarRacing-v3").unwrapped, gym.make("ardae/CarRacingLowRes-v0").unwrapped
    for env in environments:
        env.reset(seed=0)
    for step in range(80):
        action = np.array([np.sin(step / 9), 0.4, 0.0], np.float32)
        (frame, *rest), (low, *low_rest) = (env.step(action) for env in environments)
        assert low_rest == rest
    assert 0 < np.abs(frame.astype(float) - low).mean() < 0.03 * 255


@pytest.mark.parametrize("renderer", RENDERERS)
def test_start_zero_is_the_official_environment(renderer: str) -> None:
    environments: tuple[CarRacing, CarRacing] = CarRacing(), make(renderer)
    frame, _ = environments[0].reset(seed=7)
    start_frame, info = environments[1].reset(seed=7, options={"start": 0})
    assert info == {"start": 0}
    np.testing.assert_array_equal(start_frame, frame)
    for step in range(120):
        action = np.array([np.sin(step / 9), 0.4, 0.0], np.float32)
        (frame, *rest), (start_frame, *start_rest) = (env.step(action) for env in environments)
        np.testing.assert_array_equal(start_frame, frame)
        assert start_rest == rest


def test_tracks_and_starts() -> None:
    """Tracks come in the official sequence for any starts, and equal seeds give equal starts.

    The car stands at its tile, with as much reward for the first two tiles as the official one.
    """
    official, env, other = CarRacing(), make(), make()
    rewards = []
    for episode in range(4):
        seed = 3 if episode == 0 else None
        official.reset(seed=seed)
        _, info = env.reset(seed=seed)
        assert other.reset(seed=seed)[1] == info
        start = info["start"]
        assert env.track == official.track[start:] + official.track[:start]
        assert env.car is not None and official.car is not None
        # One step of the simulation has passed, and a tile is 3.5 long
        np.testing.assert_allclose(env.car.hull.position, official.track[start][2:4], atol=0.01)
        assert env.tile_visited_count == official.tile_visited_count == 2
        action = np.zeros(3, np.float32)
        rewards.append([each.step(action)[1] for each in (official, env)])
    np.testing.assert_allclose(*np.array(rewards).T)


def _lap(env: CarRacing) -> tuple[bool, dict[str, Any], int]:
    """Touch tile after tile with a wheel, which the contact listener receives as a driven lap."""
    env.step(np.zeros(3, np.float32))
    listener: Any = env.contactListener_keepref
    assert env.car is not None and env.road is not None
    road: Any = env.road

    class Body:
        def __init__(self, user_data: Any) -> None:
            self.userData = user_data

    class Fixture:
        def __init__(self, user_data: Any) -> None:
            self.body = Body(user_data)

    class Contact:
        def __init__(self, tile: Any, wheel: Any) -> None:
            self.fixtureA, self.fixtureB = Fixture(tile), Fixture(wheel)

    terminated, info, touched = False, {}, 0
    for tile in sorted(road, key=lambda tile: tile.idx):
        listener._contact(Contact(tile, env.car.wheels[0]), True)
        listener._contact(Contact(tile, env.car.wheels[0]), False)
        touched += 1
        if env.tile_visited_count == len(env.track) or env.new_lap:
            *_, terminated, _, info = env.step(np.zeros(3, np.float32))
            break
    return terminated, info, touched


def test_a_lap_ends_as_in_the_original() -> None:
    ends = []
    for env, options in ((CarRacing(), {}), (make(), {"start": 100})):
        env.reset(seed=1, options=options)
        ends.append(_lap(env))
    assert ends[0] == ends[1]
    assert ends[0][:2] == (True, {"lap_finished": True})


def test_starts_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-square test over ten parts of one track, 400 starts: the p-value is above 1 %."""
    env: Any = make()
    env.reset(seed=0)
    track, road = list(env.track), list(env.road)

    def same_track(_self: Any) -> bool:
        env.track, env.road = list(track), list(road)
        return True

    monkeypatch.setattr(CarRacing, "_create_track", same_track)
    shares = []
    for _ in range(400):
        assert env._create_track()
        shares.append(env._start / len(track))
    counts = np.histogram(shares, bins=10, range=(0, 1))[0]
    assert chisquare(counts).pvalue > 0.01


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"`options\['start'\]` must be between 0 and \d+ on this track, got -1"):
        make().reset(seed=0, options={"start": -1})
    with pytest.raises(ValueError, match="`renderer` must be one of 'fast', 'official', got 'slow'"):
        gym.make("ardae/CarRacingRandomStart-v0", renderer="slow")


@pytest.mark.parametrize("name", [*IDS, "steer and pedal", "one axis"])
def test_checkers(name: str) -> None:
    """The environment checks of Gymnasium and SB3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about CarRacing's own action space, which is not symmetric
        if name == "steer and pedal":
            env: Any = SteerAndPedal(gym.make(IDS[0]).unwrapped)
        elif name == "one axis":
            env = OneAxisToDiscrete(gym.make(IDS[0], continuous=False).unwrapped)
        else:
            env = gym.make(name).unwrapped
        gymnasium_check(env, skip_render_check=True)
        sb3_check(env)


@pytest.mark.parametrize("name", IDS)
def test_vectorised(name: str) -> None:
    vector = gym.make_vec(name, num_envs=2, vectorization_mode="sync")
    assert vector.reset(seed=0)[0].shape == (2, 96, 96, 3)
    vector.close()
    subprocesses = make_vec_env(name, n_envs=2, seed=0, vec_env_cls=SubprocVecEnv, wrapper_class=SteerAndPedal)
    frames: Any = subprocesses.reset()
    assert frames.shape == (2, 96, 96, 3)
    later: Any = subprocesses.step(np.ones((2, 2)))[0]
    assert (later != frames).any()
    subprocesses.close()


@pytest.mark.parametrize("renderer", ["fast", "official"])
def test_lists_of_images(renderer: str) -> None:
    """A render mode that Gymnasium adds to environments that say which modes they have."""
    env = gym.make("ardae/CarRacingRandomStart-v0", renderer=renderer, render_mode="rgb_array_list")
    env.reset(seed=0)
    env.step(np.zeros(3, np.float32))
    images: Any = env.render()
    assert len(images) == 2 and images[0].shape == (400, 600, 3)


def test_the_official_environment_is_untouched() -> None:
    """Equal frames in a process that has imported nothing of ours, and in this one."""
    import subprocess
    import sys

    code = """
import hashlib, gymnasium, numpy as np
env = gymnasium.make("CarRacing-v3")
frames = [env.reset(seed=11)[0]] + [env.step(np.array([0.1, 0.5, 0.0], np.float32))[0] for _ in range(30)]
print(hashlib.sha256(np.stack(frames).tobytes()).hexdigest())
"""
    ours = "import ardae_envs.actions, ardae_envs.car_racing_random_start\nardae_envs.car_racing_random_start.make()\n"
    hashes = [
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout.split()[-1]
        for text in (code, ours + code)
    ]
    assert hashes[0] == hashes[1]
