"""The planar task: its geometry worked out by hand, and the environment checks of Gymnasium and SB3."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import ardae_envs  # noqa: F401
from ardae_envs.planar import GOALS, OBSTACLES, SIZE, PlanarObstacles, draw, is_free, next_position

ID = "ardae/PlanarObstacles-v0"


@pytest.mark.filterwarnings("error")
def test_checks() -> None:
    check_env(gym.make(ID, render_mode="rgb_array").unwrapped)
    check_env_for_sb3(PlanarObstacles())


def test_steps() -> None:
    """At most three pixels along each axis, not through walls, and not at all if the step ends in an obstacle."""
    np.testing.assert_allclose(next_position([5, 5], [1 / 3, -2 / 3]), [6, 3])
    np.testing.assert_allclose(next_position([5, 5], [9, -9]), [8, 2])
    np.testing.assert_allclose(next_position([2, 38], [-1, 1]), [1.5, 38.5])
    np.testing.assert_allclose(next_position([18.5, 5.5], [1 / 3, 0]), [18.5, 5.5])  # an obstacle 1 pixel farther
    np.testing.assert_allclose(next_position([18.5, 5.5], [0.1, 0]), [18.8, 5.5])  # 1.7 away
    np.testing.assert_allclose(next_position([18.5, 5.5], [1, 1]), [21.5, 8.5])  # past it
    assert not is_free(OBSTACLES[0]) and not is_free([1, 20]) and all(is_free(goal) for goal in GOALS)


def test_images() -> None:
    empty, image = draw([5, 5], obstacles=False), draw([5.4, 4.6])
    assert image.shape == (SIZE, SIZE, 1) and image.dtype == np.uint8
    rows, columns = np.nonzero(empty[..., 0])
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(4, 4), (4, 5), (5, 4), (5, 5)]
    np.testing.assert_array_equal(image[empty > 0], 255)
    for row, column in OBSTACLES:
        disc = image[int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4, 0] > 0
        assert disc.sum() == 21 and (disc == disc.T).all() and (disc == disc[::-1]).all()
    assert (image > 0).sum() == 4 + 21 * 6


def test_episode() -> None:
    """The path to a goal and the reward there; truncated after 40 steps, never terminated."""
    env = gym.make(ID)
    observation, info = env.reset(seed=0, options={"position": [31, 37], "goal": [37, 37]})
    np.testing.assert_array_equal(observation["observation"], draw([31, 37]))
    np.testing.assert_array_equal(observation["desired_goal"], draw([37, 37]))
    assert not info["is_success"]
    total, n, truncated = 0.0, 0, False
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(np.array([1.0 if n < 2 else 0.0, 0], np.float32))
        total, n = total + float(reward), n + 1
        assert not terminated
    assert n == 40 and total == 39 and info["is_success"]  # the first step ends 3 pixels away
    np.testing.assert_array_equal(info["position"], [37, 37])


def test_starts() -> None:
    corner, anywhere = PlanarObstacles(), PlanarObstacles(start="anywhere")
    positions = np.array([corner.reset(seed=seed)[1]["position"] for seed in range(200)])
    assert (positions >= 3).all() and (positions <= 7).all() and np.ptp(positions, axis=0).min() > 3.5
    goals = {tuple(corner.reset(seed=seed)[1]["goal"]) for seed in range(50)}
    assert goals == {tuple(goal) for goal in GOALS}
    positions = np.array([anywhere.reset(seed=seed)[1]["position"] for seed in range(300)])
    assert all(is_free(position) for position in positions) and np.ptp(positions, axis=0).min() > 33


def test_noise() -> None:
    env = PlanarObstacles(noise=0.5)
    ends = []
    for seed in range(400):
        env.reset(seed=seed, options={"position": [5, 30]})
        ends.append(env.step(np.full(2, 1 / 3, np.float32))[4]["position"])
    error = 4 * 0.5 / np.sqrt(400)
    np.testing.assert_allclose(np.mean(ends, 0), [6, 31], atol=error)
    np.testing.assert_allclose(np.std(ends, 0), 0.5, atol=error)


def test_noise_never_ends_in_an_obstacle() -> None:
    env = PlanarObstacles(noise=1.0)
    env.reset(seed=0, options={"position": [18.9, 5.5]})  # 1.6 from the center of an obstacle
    for _ in range(200):
        position = env.step(np.zeros(2, np.float32))[4]["position"]
        assert is_free(position)
        env.reset(options={"position": [18.9, 5.5]})


def test_rendering() -> None:
    env = PlanarObstacles(render_mode="rgb_array")
    env.reset(seed=0, options={"position": [5, 5], "goal": [37, 37]})
    image = env.render()
    assert image is not None and image.shape == (320, 320, 3)
    assert (image[4 * 8, 4 * 8] == 255).all() and image[37 * 8, 37 * 8].tolist() == [0, 160, 0]
    assert PlanarObstacles().render() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlanarObstacles(start="middle"), "`start` must be one of 'corner', 'anywhere', got 'middle'"),
        (lambda: PlanarObstacles(noise=-1), "`noise` must be >= 0, got -1"),
        (
            lambda: PlanarObstacles().reset(options={"goal": [0, 0]}),
            r"`options\['goal'\]` must be a position clear of .*got \[0, 0\]",
        ),
        (lambda: PlanarObstacles().reset(options={"position": [20.5, 5.5]}), r"options\['position'\]"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
