"""Episodes of constant length."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from ardae_envs.absorbing import AbsorbingState


def test_checks() -> None:
    env = AbsorbingState(gym.make("CartPole-v1"))
    check_env_for_sb3(env)
    check_env(env, skip_render_check=True)


def test_goes_on_after_the_end() -> None:
    """The environment's own steps until it terminates; then zeros, a one and reward 0 until the horizon truncates."""
    env, official = AbsorbingState(gym.make("CartPole-v1")), gym.make("CartPole-v1")
    observation, _ = env.reset(seed=3)
    expected, _ = official.reset(seed=3)
    ended, rewards = False, []
    for t in range(500):
        np.testing.assert_array_equal(observation, np.eye(5)[4] if ended else np.append(expected, 0))
        observation, reward, terminated, truncated, _ = env.step(1)
        rewards.append(reward)
        assert not terminated and truncated == (t == 499)
        if not ended:
            expected, _, ended, _, _ = official.step(1)
    assert ended and sum(rewards) == sum(1 for reward in rewards if reward) < 15


def test_horizon_of_its_own_and_a_second_episode() -> None:
    env = AbsorbingState(gym.make("CartPole-v1"), horizon=20)
    for seed in range(2):
        env.reset(seed=seed)
        ends = [env.step(0)[3] for _ in range(20)]
        assert ends == [False] * 19 + [True]


def test_an_episode_that_is_cut_off() -> None:
    env = AbsorbingState(gym.make("Pendulum-v1"))
    env.reset(seed=0)
    assert [env.step([0.0])[3] for _ in range(200)].index(True) == 199


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="`env` must have vectors as observations, got"):
        AbsorbingState(gym.make("ardae_envs:ardae/PlanarObstacles-v0"))
    with pytest.raises(ValueError, match="`horizon` must be >= 1, got 0"):
        AbsorbingState(gym.make("CartPole-v1"), horizon=0)
    with pytest.raises(ValueError, match=r"`horizon` must be given .*, got None"):
        AbsorbingState(gym.make("CartPole-v1").unwrapped)
