import importlib
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_checker import data_equivalence as same
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import ardae_envs
from ardae_envs.multi_goal import GOALS, MultiGoalEnv

ENV_ID = "ardae/MultiGoal-v0"
Pair = tuple[float, float]


def step_from(position: Any, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
    env = MultiGoalEnv()
    env.reset(seed=0, options={"position": position})
    return env.step(np.array(action, dtype=np.float32))


@pytest.mark.parametrize(
    ("position", "action", "observation", "reward", "goal"),
    [
        # 30 * 0.25 for the action, 4.5^2 from the new position: 7.5 + 20.25
        ((0, 0), (0.5, 0), (0.5, 0), -27.75, -1),
        # 30 * 1.25; the nearest of (5,0), (0,5) from (2,2) + (1,-0.5): 2^2 + 1.5^2
        ((2, 2), (1, -0.5), (3, 1.5), -37.5 - 6.25, -1),
        # clipped to the arena in both coordinates, nearest goal (5,0): 2^2 + 7^2
        ((6.5, -6.5), (1, -1), (7, -7), -60 - 53, -1),
        # the action is clipped before it is charged and before it moves
        ((0, 0), (0, 3), (0, 1), -30 - 16, -1),
        # exactly at distance 1: not there yet
        ((-3, 0), (-1, 0), (-4, 0), -30 - 1, -1),
        # inside the radius after the move: + 10
        ((0, -3.5), (0, -1), (0, -4.5), -30 - 0.25 + 10, 3),
        # the old position is inside the radius, the new one is not: no goal
        ((5, 0.5), (0, 1), (5, 1.5), -30 - 2.25, -1),
    ],
)
def test_step_by_hand(position: Pair, action: Pair, observation: Pair, reward: float, goal: int) -> None:
    new_obs, r, terminated, truncated, info = step_from(position, action)
    np.testing.assert_allclose(new_obs, observation, atol=1e-6)
    assert new_obs.dtype == np.float32
    assert r == pytest.approx(reward)
    assert terminated == (goal >= 0)
    assert not truncated
    assert info == {"goal": goal}


@pytest.mark.parametrize("index", range(4))
def test_every_goal_is_reported(index: int) -> None:
    _, _, terminated, _, info = step_from(0.9 * GOALS[index], (0, 0))
    assert terminated
    assert info["goal"] == index


def test_start_distribution() -> None:
    env = MultiGoalEnv()
    env.reset(seed=1)
    starts = np.stack([env.reset()[0] for _ in range(4000)])
    np.testing.assert_allclose(starts.mean(axis=0), 0.0, atol=0.01)
    np.testing.assert_allclose(np.cov(starts.T), 0.01 * np.eye(2), atol=0.001)


def test_seeding_and_the_position_option_leave_later_episodes_alone() -> None:
    env, other = MultiGoalEnv(), MultiGoalEnv()
    assert same(env.reset(seed=3), other.reset(seed=3))
    assert not same(env.reset(seed=4), other.reset(seed=3))
    env.reset(seed=5)
    other.reset(seed=5, options={"position": (1, 2)})
    assert same(env.reset(), other.reset())


@pytest.mark.parametrize(
    "options", [{"position": (8, 0)}, {"position": (0, 0, 0)}, {"position": (np.nan, 0)}, {"x": 1}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must (be two numbers|have no keys other)"):
        MultiGoalEnv().reset(options=options)


def test_wrong_render_mode_and_action_are_refused() -> None:
    with pytest.raises(ValueError, match="rgb_array"):
        MultiGoalEnv(render_mode="human")
    with pytest.raises(ValueError, match="`action` must be 2 finite numbers"):
        step_from((0, 0), (0, 0, 0))


def test_render_draws_the_position() -> None:
    env = MultiGoalEnv(render_mode="rgb_array")
    env.reset(options={"position": (6, 6)})
    image = env.render()
    assert image is not None
    assert image.shape == (252, 252, 3)
    assert image.dtype == np.uint8
    assert tuple(image[18, -18]) == (40, 70, 140)  # one unit (18 pixels) from the top and from the right
    assert MultiGoalEnv().render() is None


def test_checkers_accept_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ENV_ID, render_mode="rgb_array").unwrapped)
        sb3_check_env(gym.make(ENV_ID))


def test_registered_with_a_time_limit() -> None:
    env = gym.make(f"ardae_envs:{ENV_ID}")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, dtype=np.float32))[2:4] for _ in range(30)]
    assert ends == [(False, False)] * 29 + [(False, True)]
    pickle.loads(pickle.dumps(env))


def test_importing_twice_is_silent_and_keeps_the_registration() -> None:
    spec = gym.spec(ENV_ID)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(ardae_envs)
        gym.register_envs(ardae_envs)
    assert gym.spec(ENV_ID) is spec
