"""Random starts through a wrapper."""

import gymnasium as gym
import numpy as np
import pytest

from ardae_envs.start_anywhere import StartAnywhere
from ardae_rl.environments import EnvDescription


def test_planar() -> None:
    """The task starts in a corner of 4 x 4 pixels, the wrapped environment anywhere in 37 x 37."""
    task, anywhere = gym.make("ardae/PlanarObstacles-v0"), StartAnywhere(gym.make("ardae/PlanarObstacles-v0"))
    starts = [np.array([env.reset(seed=k)[1]["position"] for k in range(50)]) for env in (task, anywhere)]
    assert starts[0].max() <= 7
    assert (np.ptp(starts[1], axis=0) > 25).all()


def test_poles() -> None:
    env = StartAnywhere(gym.make("ardae/PendulumPixels-v0", size=16))
    assert np.ptp([env.reset(seed=k)[1]["state"][0] for k in range(50)]) > 5


def test_cut_episodes() -> None:
    env = StartAnywhere(gym.make("ardae/PendulumPixels-v0", size=16), episode_steps=3)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(env.action_space.sample())[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]


def test_made_anew() -> None:
    """The description of the copy is that of the original: there is one time limit, the task's."""
    env = StartAnywhere(gym.make("ardae/PendulumPixels-v0", size=16), episode_steps=3)
    description = EnvDescription.of_env(env)
    assert description is not None
    assert [wrapper.name for wrapper in description.wrappers] == ["TimeLimit", "StartAnywhere"]
    copy = description.make()
    again = EnvDescription.of_env(copy)
    assert again is not None and again.record() == description.record()
    copy.reset(seed=0)
    assert [copy.step(copy.action_space.sample())[3] for _ in range(3)] == [False, False, True]


def test_others_are_refused() -> None:
    with pytest.raises(
        ValueError, match="`env` must be ardae/PlanarObstacles-v0 or a pole environment with pixels, got"
    ):
        StartAnywhere(gym.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="`episode_steps` must be >= 1, got 0"):
        StartAnywhere(gym.make("ardae/PlanarObstacles-v0"), 0)
