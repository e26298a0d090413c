"""The fast renderer against the installed official environment, frame by frame."""

import gc
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing

import ardae_envs  # noqa: F401
from ardae_envs import car_racing_fast
from ardae_envs.car_racing_fast import CarRacingFast

Driver = Callable[[np.random.Generator, int], list[float]]


def _weaving(rng: np.random.Generator, step: int) -> list[float]:
    return [np.sin(step / 9), 0.4, 0.0]


def _spinning(rng: np.random.Generator, step: int) -> list[float]:
    """Full throttle and full lock: the car turns through all angles."""
    return [1.0, 1.0, 0.0]


def _random(rng: np.random.Generator, step: int) -> list[float]:
    return [rng.uniform(-1, 1), rng.uniform(0, 1), rng.uniform(0, 1) * (rng.random() < 0.2)]


def _straight(rng: np.random.Generator, step: int) -> list[float]:
    """Off the track and to the edge of the world, where part of the image is black."""
    return [0.0, 0.6, 0.0]


@pytest.mark.parametrize(
    ("drive", "seed", "steps"), [(_weaving, 0, 700), (_spinning, 1, 500), (_random, 2, 700), (_straight, 3, 900)]
)
def test_every_frame_and_reward(drive: Driver, seed: int, steps: int) -> None:
    """From the first frame, while the camera zooms in."""
    environments = CarRacing(), CarRacingFast()
    frames = [env.reset(seed=seed)[0] for env in environments]
    np.testing.assert_array_equal(*frames)
    assert frames[0].flags.c_contiguous == frames[1].flags.c_contiguous
    rng = np.random.default_rng(seed)
    for step in range(steps):
        action = np.array(drive(rng, step), dtype=np.float32)
        (frame, *rest), (fast_frame, *fast_rest) = (env.step(action) for env in environments)
        np.testing.assert_array_equal(fast_frame, frame, err_msg=f"step {step}")
        assert fast_rest == rest
        if rest[1]:
            break
    if drive is _straight:
        assert rest[1] and rest[0] == -100, "the end of the world was reached"


@pytest.mark.parametrize("arguments", [{"domain_randomize": True}, {"continuous": False}], ids=str)
def test_options(arguments: dict[str, Any]) -> None:
    """Random colors and discrete actions; a second track after the first."""
    environments = CarRacing(**arguments), CarRacingFast(**arguments)
    for seed in (4, None):
        np.testing.assert_array_equal(*(env.reset(seed=seed)[0] for env in environments))
        environments[0].action_space.seed(0)
        for _ in range(40):
            action = environments[0].action_space.sample()
            np.testing.assert_array_equal(*(env.step(action)[0] for env in environments))


def test_indicators_beyond_their_bar() -> None:
    """The indicator of a fast enough wheel extends beyond the bar into the image."""
    environments = CarRacing(), CarRacingFast()
    frames = []
    for env in environments:
        env.reset(seed=0)
        assert env.car is not None
        for wheel in env.car.wheels:
            wheel.omega = 700.0
        frames.append(env._render("state_pixels"))
    np.testing.assert_array_equal(*frames)
    assert (frames[0][80] != frames[0][79]).any()


def test_other_modes_are_the_official_ones() -> None:
    frames = []
    for env in (CarRacing(render_mode="rgb_array"), CarRacingFast(render_mode="rgb_array")):
        env.reset(seed=0)
        env.step(np.array([0.1, 1.0, 0.0], np.float32))
        frames.append(env.render())
    np.testing.assert_array_equal(*frames)
    assert frames[0].shape == (400, 600, 3)


def test_unverified_versions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(car_racing_fast, "VERIFIED_GYMNASIUM", ("0.9",))
    with pytest.raises(
        ValueError, match=r"must be True for gymnasium \S+ \(the frames have been compared with 0\.9\), got False"
    ):
        gym.make("ardae/CarRacingFast-v0")
    gym.make("ardae/CarRacingFast-v0", unverified=True).reset(seed=0)


def test_pickled() -> None:
    env = CarRacingFast(continuous=False, unverified=True)
    other = pickle.loads(pickle.dumps(env))
    assert other.action_space == env.action_space
    np.testing.assert_array_equal(*(each.reset(seed=5)[0] for each in (env, other)))


def test_closing_frees_track_and_car() -> None:
    """Without it, each environment left hundreds of bodies in memory."""

    def n_bodies() -> int:
        gc.collect()
        return sum(type(thing).__name__ == "b2Body" for thing in gc.get_objects())

    before = n_bodies()
    for _ in range(2):
        env = gym.make("ardae/CarRacingFast-v0")
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
        env.close()
        del env
    assert n_bodies() == before
    env = gym.make("ardae/CarRacingFast-v0")
    env.reset(seed=0)
    env.close()
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
