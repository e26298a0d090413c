"""Repeated actions against the environment's own steps."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing

import ardae_envs  # noqa: F401
from ardae_envs.action_repeat import ActionRepeat
from ardae_envs.car_racing_fast import CarRacingFast


@pytest.mark.parametrize("limit", [50, 51], ids=["ends with a step", "ends within a step"])
def test_frames_and_rewards(limit: int) -> None:
    """Those of the official environment, although some frames are not drawn, also after a reset."""
    official, held = CarRacing(), ActionRepeat(gym.make("ardae/CarRacingFast-v0", max_episode_steps=limit), 5)
    for seed in (0, 1):
        np.testing.assert_array_equal(held.reset(seed=seed)[0], official.reset(seed=seed)[0])
        rng, t, truncated = np.random.default_rng(seed), 0, False
        while not truncated:
            action = rng.uniform([-1, 0.2, 0], [1, 1, 0.1]).astype(np.float32)
            observation, reward, _, truncated, _ = held.step(action)
            steps = [official.step(action) for _ in range(min(5, limit - t))]
            t += len(steps)
            np.testing.assert_array_equal(observation, steps[-1][0])
            assert reward == pytest.approx(sum(step[1] for step in steps))
        assert t == limit


def test_nothing_but_the_last_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    env, drawn = ActionRepeat(CarRacingFast(), 4), []
    env.reset(seed=0)
    monkeypatch.setattr(CarRacingFast, "_draw_world", lambda self: drawn.append(self.t))
    for _ in range(3):
        env.step(np.zeros(3, np.float32))
    assert len(drawn) == 3


def test_drawing_after_an_error() -> None:
    """An environment continues to draw after an invalid action."""
    env = ActionRepeat(CarRacingFast(continuous=False), 4)
    first, _ = env.reset(seed=0)
    env.step(np.int64(3))
    with pytest.raises(Exception, match="invalid action"):
        env.step(np.int64(9))
    np.testing.assert_array_equal(env.reset(seed=0)[0], first)


class Numbers(gym.Env[Any, Any]):
    """Observation and reward are the number of the step; the seventh step terminates."""

    observation_space = gym.spaces.Box(0, 10, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return np.full(1, self.t, np.float32), self.t, self.t == 7, False, {}


def test_any_environment() -> None:
    env = ActionRepeat(Numbers(), 3)
    env.reset()
    assert [(step[0][0], *step[1:3]) for step in (env.step(0), env.step(0), env.step(0))] == [
        (3, 6, False),
        (6, 15, False),
        (7, 7, True),
    ]
    with pytest.raises(ValueError, match="`n` must be >= 1, got 0"):
        ActionRepeat(Numbers(), 0)
