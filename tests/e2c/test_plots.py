"""What is drawn of a trained E2C."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.e2c import E2C
from ardae_rl.e2c.plots import draw, plan_strip
from tests.e2c.test_e2c import agent
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


def test_plan_is_what_the_environment_does() -> None:
    """Below the planned images are those of the plan's actions, from the first to the last, then the goal."""
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
