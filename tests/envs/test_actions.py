"""Reduced action spaces against values worked out by hand."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from ardae_envs.actions import (
    OneAxisToDiscrete,
    ReducedActionSpace,
    SteerAndPedal,
    one_axis_to_discrete,
    steer_and_pedal,
)


def test_steer_and_pedal() -> None:
    actions = np.array([[0.5, 0.25], [-1.0, -0.75], [0.0, 0.0]])
    expected = np.array([[0.5, 0.25, 0.0], [-1.0, 0.0, 0.75], [0.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(steer_and_pedal(actions), expected)
    np.testing.assert_array_equal(steer_and_pedal(actions[0]), expected[0])
    many = steer_and_pedal(np.random.default_rng(0).uniform(-1, 1, (1000, 2)))
    assert (many[:, 1:].min(1) == 0).all(), "never gas and brake together"
    assert all(gym.make("CarRacing-v3").action_space.contains(action) for action in many)


def test_one_axis() -> None:
    values = np.array([[-1.0], [-0.34], [-0.33], [0.0], [0.33], [0.34], [1.0]])
    assert one_axis_to_discrete(values).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert one_axis_to_discrete(np.array([0.5]), [0.0]) == 1


class Echo(gym.Env[Any, Any]):
    """The observation is the action."""

    observation_space = spaces.Box(-10, 10, (1,))

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        return np.array(action, np.float32).reshape(-1), 0.0, False, False, {}


def test_one_axis_wrapper() -> None:
    """Nothing is 0, right is 1 and left is 2, as in DoomTakeCover; `order` arranges them as left, nothing, right."""
    env = OneAxisToDiscrete(Echo(spaces.Discrete(3)), order=(2, 0, 1))
    assert [env.step(np.array([value], np.float32))[0].item() for value in (-0.9, 0.1, 0.9)] == [2, 0, 1]
    as_array = OneAxisToDiscrete(Echo(spaces.Discrete(3)), order=np.array([2, 0, 1]))  # type: ignore[arg-type]
    assert as_array.action([-0.9]) == 2
    shifted = OneAxisToDiscrete(Echo(spaces.Discrete(2, start=-1)))
    assert [shifted.step(np.array([value], np.float32))[0].item() for value in (-0.1, 0.1)] == [-1, 0]


def test_any_map() -> None:
    env = ReducedActionSpace(Echo(spaces.Box(-4, 4, (1,))), spaces.Box(-1, 1, (1,)), lambda action: 4 * action)
    assert env.action_space == spaces.Box(-1, 1, (1,))
    assert env.step(np.array([0.5], np.float32))[0].item() == 2


@pytest.mark.parametrize(
    ("wrapper", "space", "arguments", "message"),
    [
        (SteerAndPedal, spaces.Discrete(5), {}, "`env` must have three real actions, as CarRacing has, got Discrete"),
        (OneAxisToDiscrete, spaces.Box(-1, 1, (1,)), {}, "`env` must have discrete actions, got Box"),
        (OneAxisToDiscrete, spaces.Discrete(3), {"order": (0, 3)}, r"of Discrete\(3\), got \(0, 3\)"),
        (OneAxisToDiscrete, spaces.Discrete(3), {"order": ()}, r"`order` must consist of .*, got \(\)"),
        (OneAxisToDiscrete, spaces.Discrete(3), {"thresholds": (0.3, -0.3)}, "`thresholds` must be 2 ascending"),
        (OneAxisToDiscrete, spaces.Discrete(3), {"thresholds": (0.3,)}, r"must be 2 ascending numbers, got \(0.3,\)"),
    ],
)
def test_bad_arguments(wrapper: Any, space: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrapper(Echo(space), **arguments)
