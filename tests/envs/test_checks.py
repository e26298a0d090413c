"""What every environment refuses: actions that are not finite numbers, and misspelled options."""

import importlib.util
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import ardae_envs  # noqa: F401
from ardae_envs.checks import check_options, finite_action
from ardae_envs.planar import PlanarObstacles
from ardae_envs.poles import CartPolePixels, PendulumPixels

WITH_NUMBERS = [
    "ardae/MultiGoal-v0",
    "ardae/MultiGoalMaze-v0",
    "ardae/PlanarObstacles-v0",
    "ardae/PendulumPixels-v0",
    "ardae/CartPolePixels-v0",
]
WITH_OPTIONS = [*WITH_NUMBERS, "ardae/CarRacingRandomStart-v0"]
if importlib.util.find_spec("vizdoom"):
    WITH_OPTIONS.append("ardae/TakeCover-v0")


@pytest.mark.parametrize("env_id", WITH_NUMBERS)
@pytest.mark.parametrize("kind", ["NaN", "infinite", "one entry more", "one number for all"])
def test_actions(env_id: str, kind: str) -> None:
    """Refused, and the episode goes on as if they had not been tried."""
    env, other = gym.make(env_id).unwrapped, gym.make(env_id).unwrapped
    for one in (env, other):
        one.reset(seed=0)
    size = env.action_space.shape[0]  # type: ignore[index]
    bad = {
        "NaN": np.array([np.nan] + [0.0] * (size - 1), np.float32),
        "infinite": np.full(size, -np.inf, np.float32),
        "one entry more": np.zeros(size + 1, np.float32),
        "one number for all": np.float32(0.1),
    }[kind]
    with pytest.raises(ValueError, match=rf"`action` must be {size} finite numbers, got "):
        env.step(bad)
    good = np.full(size, 0.5, np.float32)
    (observation, reward, *_), (expected, expected_reward, *_) = env.step(good), other.step(good)
    np.testing.assert_equal((observation, reward), (expected, expected_reward))


@pytest.mark.parametrize("env_id", WITH_OPTIONS)
def test_misspelled_options(env_id: str) -> None:
    env = gym.make(env_id).unwrapped
    with pytest.raises(ValueError, match=r"`options` must (have no keys other than '.*'|be empty), got \['positoin'\]"):
        env.reset(options={"positoin": (1.0, 1.0)})
    env.close()


@pytest.mark.parametrize("env", [PlanarObstacles, PendulumPixels, CartPolePixels])
def test_render_modes(env: Any) -> None:
    with pytest.raises(ValueError, match="`render_mode` must be one of None, 'rgb_array', got 'human'"):
        env(render_mode="human")


def test_values() -> None:
    np.testing.assert_array_equal(finite_action([1, -2], 2), [1.0, -2.0])
    assert check_options(None) == {} and check_options({"a": 1}, ("a", "b")) == {"a": 1}
