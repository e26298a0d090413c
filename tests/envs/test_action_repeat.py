"""Repeated actions against the environment's own steps."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing
from gymnasium.wrappers import FrameStackObservation, GrayscaleObservation, TransformReward
from stable_baselines3.common.monitor import Monitor

import ardae_envs  # noqa: F401
from ardae_envs.action_repeat import ActionRepeat
from ardae_envs.actions import SteerAndPedal
from ardae_envs.car_racing_fast import CarRacingFast
from ardae_envs.patience import Patience


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


def test_wrappers_of_observations_inside() -> None:
    """They see every frame, and are not bypassed where the episode ends within a repetition."""

    def gray(env: Any) -> Any:
        return FrameStackObservation(GrayscaleObservation(env), 3)

    plain, held = gray(CarRacing()), ActionRepeat(gray(gym.make("ardae/CarRacingFast-v0", max_episode_steps=6)), 4)
    np.testing.assert_array_equal(held.reset(seed=0)[0], plain.reset(seed=0)[0])
    action = np.array([0.3, 0.5, 0.0], np.float32)
    for n_steps in (4, 2):
        observation, _, _, truncated, _ = held.step(action)
        np.testing.assert_array_equal(observation, [plain.step(action)[0] for _ in range(n_steps)][-1])
        assert held.observation_space.contains(observation)
    assert truncated


@pytest.mark.parametrize(
    "wrap", [Monitor, SteerAndPedal, lambda env: Patience(env, 9), lambda env: TransformReward(env, float)]
)
def test_other_wrappers_inside(wrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that nobody sees are not drawn."""
    env, drawn = ActionRepeat(wrap(gym.make("ardae/CarRacingFast-v0")), 4), []
    env.reset(seed=0)
    monkeypatch.setattr(CarRacingFast, "_draw_world", lambda self: drawn.append(self.t))
    env.step(np.zeros(env.action_space.shape, np.float32))
    assert len(drawn) == 1


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
