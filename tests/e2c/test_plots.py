"""Plots of a trained E2C model."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.e2c import E2C, plots
from ardae_rl.e2c.plots import draw, latent_map, plan_strip
from tests.e2c.test_e2c import SMALL, agent
from tests.latent.toy import Walk


@pytest.mark.parametrize("env_id", ["ardae/PlanarObstacles-v0", "ardae/PendulumPixels-v0"])
def test_files(env_id: str, tmp_path: Path) -> None:
    env = gym.make(env_id)
    paths = draw(agent(env), env, env, tmp_path)
    assert [path.name for path in paths] == ["latent_map.png", "reconstructions.png", "plan.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_without_a_goal_there_is_no_plan_to_it(tmp_path: Path) -> None:
    env = Walk(with_goal=False)
    model = E2C("CnnPolicy", env, device="cpu", policy_kwargs={"hidden": (8,), "transition_hidden": (8,)})
    assert [path.name for path in draw(model, env, env, tmp_path)] == ["latent_map.png", "reconstructions.png"]


def test_one_latent_dimension() -> None:
    env = Walk()
    model = E2C("MultiInputPolicy", env, device="cpu", policy_kwargs=SMALL | {"z_dim": 1})
    assert len(latent_map(model, np.zeros((5, 1, 8, 8), np.uint8), {"place": np.arange(5)}).axes) == 2


class Located(Walk):
    """Reports three coordinates, and ends episodes as soon as it moves."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"position": np.array([self._episode, 1.0, 2.0])}

    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, True, False, info


@pytest.mark.parametrize("with_goal", [True, False])
def test_environment_of_ones_own(with_goal: bool, tmp_path: Path) -> None:
    """Unnamed coordinates are numbered."""
    env = Located(with_goal)
    policy = "MultiInputPolicy" if with_goal else "CnnPolicy"
    model = E2C(policy, env, device="cpu", policy_kwargs={"hidden": (8,), "transition_hidden": (8,)})
    images, places = plots._observed(model, env, seed=0)
    assert images.shape[1:] == (1, 8, 8) and images.dtype == np.uint8
    assert list(places) == ["coordinate 1", "coordinate 2", "coordinate 3"]
    assert len(draw(model, env, env, tmp_path)) == 2 + with_goal


def test_plan_that_is_longer_than_the_episode() -> None:
    env = Located()
    figure = plan_strip(E2C("MultiInputPolicy", env, device="cpu", policy_kwargs={"hidden": (8,), "horizon": 4}), env)
    assert len(figure.axes) == 2 * 3  # the start, one step, the goal


def test_plan_is_what_the_environment_does() -> None:
    """Below the planned images are those that the plan's actions lead to; the last is the goal."""
    model, env = agent(), gym.make("ardae/PlanarObstacles-v0")
    figure = plan_strip(model, env, seed=3)
    drawn = [axes.images[0].get_array() for axes in figure.axes]
    horizon = len(drawn) // 2 - 2
    observation, _ = env.reset(seed=3)
    _, (plans, *_) = model.policy.predict(observation)
    done = [observation["observation"]]
    done += [env.step(model.policy.unscaled(action))[0]["observation"] for action in plans[0]]
    assert horizon == len(plans[0])
    for image, seen in zip(drawn[horizon + 2 :], [*done, observation["desired_goal"]], strict=True):
        np.testing.assert_allclose(np.asarray(image), seen[..., -1] / 255, atol=1e-6)
