"""Demonstrations of other environments, or with invalid values, are distinguished from fitting ones."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from ardae_rl.irl.demonstrations import check_demonstrations_fit
from ardae_rl.irl.trajectories import Trajectory

OBSERVATIONS, ACTIONS = spaces.Box(-1, 1, (3,)), spaces.Box(-2, 2, (1,))


def episode(observations: Any = None, actions: Any = None, rewards: Any = None) -> Trajectory:
    observations = np.zeros((4, 3)) if observations is None else observations
    return Trajectory(observations, np.zeros((3, 1)) if actions is None else actions, rewards)


def test_what_fits() -> None:
    rounded = np.full((3, 1), np.float32(2.0000002))
    check_demonstrations_fit([episode(), episode(actions=rounded, rewards=np.ones(3))], OBSERVATIONS, ACTIONS)
    unbounded = spaces.Box(-np.inf, np.inf, (3,))
    check_demonstrations_fit([episode(observations=np.full((4, 3), 1e9))], unbounded, ACTIONS)
    parts = spaces.Dict({"a": OBSERVATIONS, "b": spaces.Discrete(3, start=1)})
    dictionary = {"a": np.zeros((4, 3)), "b": np.array([1, 2, 3, 1])}
    check_demonstrations_fit([episode(dictionary, np.array([0, 1, 1]))], parts, spaces.Discrete(2))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (episode(observations=np.zeros((4, 5))), r"`demonstrations\[1\]\.observations` must have rows of shape \(3,\)"),
        (episode(actions=np.zeros((3, 2))), r"`.*\.actions` must have rows of shape \(1,\), got \(2,\)"),
        (episode(observations=np.full((4, 3), np.nan)), r"`.*\.observations` must be finite, got 12 of 12"),
        (episode(rewards=np.array([0, np.inf, 0])), r"`.*\.rewards` must be finite, got 1 of 3"),
        (episode(actions=np.full((3, 1), 2.5)), r"`.*\.actions` must be in the range of Box.*, got 2\.5 \(.*: 3\)"),
        (episode(observations=np.full((4, 3), 9.0)), r"`.*\.observations` must be in the range of Box"),
        (episode(observations={"a": np.zeros((4, 3))}), r"`.*\.observations` must be an array, got a dictionary"),
        (episode(observations=np.array([["x"] * 3] * 4)), r"`.*\.observations` must be numeric, got <U1"),
    ],
)
def test_what_does_not(other: Trajectory, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_demonstrations_fit([episode(), other], OBSERVATIONS, ACTIONS)


def test_foreign_keys_and_numbers() -> None:
    parts = spaces.Dict({"a": OBSERVATIONS})
    with pytest.raises(ValueError, match=r"must have the keys \['a'\], got \['a', 'z'\]"):
        check_demonstrations_fit([episode({"a": np.zeros((4, 3)), "z": np.zeros(4)})], parts, ACTIONS)
    with pytest.raises(ValueError, match=r"must be in the range of Discrete\(2\), got 2"):
        check_demonstrations_fit([episode(actions=np.array([0, 1, 2]))], OBSERVATIONS, spaces.Discrete(2))
