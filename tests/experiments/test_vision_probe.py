"""The scripted driver's view of the road, and that it drives."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import TRACK_WIDTH

import ardae_envs  # noqa: F401
from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.world_models.controller_envs import ControllerView
from experiments import scripted_driver
from experiments.scripted_driver import AHEAD, ScriptedDriver, nearest_tile, road_view


@pytest.mark.parametrize("tile", [3, 50])
def test_road_view(tile: int) -> None:
    """The car is put beside a tile, turned, and given a speed."""
    env: Any = gym.make("CarRacing-v3").unwrapped
    env.reset(seed=0)
    _, direction, x, y = env.track[tile]
    right = (math.cos(direction), math.sin(direction))
    hull = env.car.hull
    hull.position = (x + 0.4 * TRACK_WIDTH * right[0], y + 0.4 * TRACK_WIDTH * right[1])
    hull.angle = direction - 0.2
    hull.linearVelocity = (3.0, 4.0)
    view = road_view(env)
    assert nearest_tile(env) == tile
    np.testing.assert_allclose([view.offset, view.heading, view.speed], [0.4, -0.2, 5.0], atol=1e-4)
    turned = [env.track[tile + n][1] - direction for n in AHEAD]
    np.testing.assert_allclose(np.sin(view.bends), np.sin(turned), atol=1e-5)
    assert np.abs(view.bends).max() <= math.pi


@pytest.mark.parametrize(("push_share", "share_on_road"), [(0.0, 0.99), (0.02, 0.5)])
def test_the_driver_stays_on_the_road(push_share: float, share_on_road: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushed off, it comes back."""
    monkeypatch.setattr(scripted_driver, "_PUSH_SHARE", push_share)
    env = ControllerView(ActionRepeat(gym.make("ardae/CarRacingFast-v0"), 4))
    env.reset(seed=0)
    driver = ScriptedDriver(seed=0)
    offsets = []
    for _ in range(120):
        *_, terminated, _, _ = env.step(driver.outputs(env.unwrapped))
        assert not terminated
        offsets.append(abs(road_view(env.unwrapped).offset))
    assert np.mean(np.array(offsets) < 1) > share_on_road
    assert max(offsets) > 1 or push_share == 0
    assert offsets[-1] < 1
