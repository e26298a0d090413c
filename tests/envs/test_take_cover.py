"""DoomTakeCover: without a display, actions in the documented order, no black frames."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import ardae_envs  # noqa: F401
from ardae_envs.actions import OneAxisToDiscrete

pytest.importorskip("vizdoom")


def play(env: gym.Env, action: int, steps: int, seed: int = 0) -> tuple[list[np.ndarray], bool]:
    frames, terminated = [env.reset(seed=seed)[0]], False
    for _ in range(steps):
        frame, reward, terminated, _, info = env.step(np.int64(action))
        assert reward == 1 and info == {"frame_repeated": terminated}
        frames.append(frame)
        if terminated:
            break
    return frames, terminated


def test_an_episode() -> None:
    """An episode ends with a repeated frame, not with a black one; equal seeds give equal frames."""
    env = gym.make("ardae/TakeCover-v0")
    frames, terminated = play(env, 1, 2000)
    assert terminated and frames[0].shape == (200, 320, 3)
    assert all(frame.max() > 0 for frame in frames)
    np.testing.assert_array_equal(frames[-1], frames[-2])
    assert (frames[1] != frames[40]).any(), "frames do not share memory"
    again, _ = play(env, 1, 50)
    np.testing.assert_array_equal(again[50], frames[50])
    env.close()


def test_left_and_right() -> None:
    """Checked against the buttons that the game received."""
    from vizdoom import Button

    env = gym.make("ardae/TakeCover-v0")
    env.reset(seed=0)
    game = env.unwrapped._game.game  # type: ignore[attr-defined]
    pressed = []
    for action in range(3):
        env.step(np.int64(action))
        pressed.append(
            [b for b, value in zip(game.get_available_buttons(), game.get_last_action(), strict=True) if value]
        )
    assert pressed == [[Button.MOVE_LEFT], [], [Button.MOVE_RIGHT]]
    env.close()


def test_time_limit_and_floor() -> None:
    assert gym.spec("ardae/TakeCover-v0").max_episode_steps == 2100
    env = gym.make("ardae/TakeCover-v0", floor=True)
    assert env.reset(seed=0)[0].shape == (240, 320, 3)
    assert (env.reset(seed=0)[0][:200] == gym.make("ardae/TakeCover-v0").reset(seed=0)[0]).all()


def test_checkers_and_pickling() -> None:
    env = gym.make("ardae/TakeCover-v0", render_mode="rgb_array").unwrapped
    gymnasium_check(env, skip_render_check=True)
    sb3_check(env)
    one_axis = OneAxisToDiscrete(env)
    one_axis.reset(seed=0)
    one_axis.step(np.array([-0.9], np.float32))
    other = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(other.reset(seed=1)[0], env.reset(seed=1)[0])
    assert env.render().shape == (240, 320, 3)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="`action` must be between 0 and 2, got 3"):
        env.step(3)
