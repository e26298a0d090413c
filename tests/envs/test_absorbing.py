"""Episodes that continue in an absorbing state."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from ardae_envs.absorbing import AbsorbingState, make


def test_checks() -> None:
    env = AbsorbingState(gym.make("CartPole-v1"))
    check_env_for_sb3(env)
    check_env(env, skip_render_check=True)


def test_goes_on_after_the_end() -> None:
    """The environment's own steps until it terminates, then one from the absorbing state to itself; twice."""
    env, official = AbsorbingState(gym.make("CartPole-v1")), gym.make("CartPole-v1")
    for seed in (3, 4):
        observation, _ = env.reset(seed=seed)
        expected, _ = official.reset(seed=seed)
        ended = False
        while not ended:
            np.testing.assert_array_equal(observation, np.append(expected, 0))
            observation, reward, terminated, truncated, _ = env.step(1)
            expected, _, ended, _, _ = official.step(1)
            assert (reward, terminated, truncated) == (1.0, False, False)
        np.testing.assert_array_equal(observation, np.eye(5)[4])
        observation, reward, terminated, truncated, _ = env.step(1)
        np.testing.assert_array_equal(observation, np.eye(5)[4])
        assert (reward, terminated, truncated) == (0.0, False, True)


def test_an_end_at_the_limit() -> None:
    """Termination in the step that a time limit would truncate is followed by the absorbing state, too."""
    length = 0
    official = gym.make("CartPole-v1")
    official.reset(seed=3)
    while True:
        length += 1
        if official.step(1)[2]:
            break
    env = AbsorbingState(gym.make("CartPole-v1", max_episode_steps=length))
    env.reset(seed=3)
    assert [env.step(1)[2:4] for _ in range(length + 1)] == [(False, False)] * length + [(False, True)]


def test_an_episode_that_is_cut_off() -> None:
    env = AbsorbingState(gym.make("Pendulum-v1"))
    env.reset(seed=0)
    assert [env.step([0.0])[3] for _ in range(200)].index(True) == 199


def test_a_longer_time_limit() -> None:
    """The limit of the environment inside can be replaced; one outside can only be shorter."""
    for arguments, length in (({}, 200), ({"time_limit": 300}, 300), ({"time_limit": 300, "g": 1.0}, 300)):
        env = make("Pendulum-v1", **arguments)
        env.reset(seed=0)
        assert [env.step([0.0])[3] for _ in range(300)].index(True) == length - 1


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="`env` must have vector observations, got"):
        AbsorbingState(gym.make("ardae_envs:ardae/PlanarObstacles-v0"))
