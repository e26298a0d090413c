"""Trainers from demonstrations work with every action space, or refuse it by name."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from ardae_rl.irl import AIRL, BC, GAIL, GANGCL, SQIL, Trajectory, collect_demonstrations
from tests.irl.test_adversarial import GENERATORS, METHODS, SMALL
from tests.sac_ardae import small

BOXES: dict[str, spaces.Box] = {
    "scalar": spaces.Box(-1, 1, ()),
    "matrix": spaces.Box(-1, 1, (2, 2)),
    "double": spaces.Box(-2.0, 3.0, (2,), np.float64),
}
NET_ARCH: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}
ARGUMENTS: dict[str, Any] = SMALL | NET_ARCH


class AnyActions(gym.Env[Any, Any]):
    """Episodes of five steps; checks its actions."""

    observation_space = spaces.Box(-1, 1, (2,))

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._t += 1
        return self.observation_space.sample(), 0.0, self._t == 5, False, {}


class Random:
    """Acts at random, as the demonstrator."""

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    def predict(self, observations: Any, *_: Any, **__: Any) -> tuple[Any, None]:
        return np.stack([self.space.sample() for _ in range(len(observations))]), None


def demonstrations(space: spaces.Space[Any]) -> list[Trajectory]:
    model: Any = Random(space)
    return collect_demonstrations(model, make_vec_env(lambda: AnyActions(space)), 2)


def check_learns(model: Any) -> None:
    model.learn(21)
    observation, _ = model.get_env().envs[0].reset()
    action, _ = model.predict(observation)
    assert np.shape(action) == model.action_space.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("generator", ["sac", "ppo"])
@pytest.mark.parametrize("name", BOXES)
def test_boxes(method: type[Any], generator: str, name: str) -> None:
    space = BOXES[name]
    check_learns(
        method("MlpPolicy", AnyActions(space), demonstrations(space), generator, GENERATORS[generator], **ARGUMENTS)
    )


@pytest.mark.parametrize("generator", ["sac", "ppo"])
def test_mixtures_of_double_precision(generator: str) -> None:
    """Actions of demonstrations are as precise as those of samples, so that both can be mixed."""
    space = BOXES["double"]
    kwargs = {"regularization": {"mixup": 1.0, "gradient_penalty": 1.0}}
    env, demos = AnyActions(space), demonstrations(space)
    check_learns(
        AIRL("MlpPolicy", env, demos, generator, GENERATORS[generator], discriminator_kwargs=kwargs, **ARGUMENTS)
    )


@pytest.mark.parametrize("name", BOXES)
def test_boxes_of_baselines(name: str) -> None:
    space = BOXES[name]
    check_learns(BC("MlpPolicy", AnyActions(space), demonstrations(space), batch_size=8, **NET_ARCH))
    check_learns(SQIL("MlpPolicy", AnyActions(space), demonstrations(space), learning_starts=10, **NET_ARCH))


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)], ids=str)
def test_discrete_actions(space: spaces.Space[Any]) -> None:
    check_learns(BC("MlpPolicy", AnyActions(space), demonstrations(space), batch_size=8, **NET_ARCH))
    if isinstance(space, spaces.Discrete):
        for method in METHODS:
            generator = GENERATORS["ppo"]
            check_learns(method("MlpPolicy", AnyActions(space), demonstrations(space), "ppo", generator, **ARGUMENTS))
        off_policy = {"learning_starts": 10, "batch_size": 8, "buffer_size": 100}
        check_learns(GAIL("MlpPolicy", AnyActions(space), demonstrations(space), "dqn", off_policy, **ARGUMENTS))
        return
    with pytest.raises(AssertionError, match=f"only supports .* but {type(space).__name__}"):
        AIRL("MlpPolicy", AnyActions(space), demonstrations(space))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3, start=1), r"`action_space` must start at 0, got Discrete\(3, start=1\)"),
        (spaces.Box(0, 3, (2,), np.int64), r"`action_space` must have a floating-point dtype, got Box\(0, 3, .*int"),
    ],
    ids=str,
)
def test_spaces_that_are_refused(space: spaces.Space[Any], message: str) -> None:
    """SB3 would hand over actions that are not of them."""
    env = AnyActions(space)
    for method in (AIRL, GAIL, GANGCL, BC):
        with pytest.raises(ValueError, match=message):
            method("MlpPolicy", env, demonstrations(space))
    if isinstance(space, spaces.Box):
        with pytest.raises(ValueError, match=message):
            SQIL("MlpPolicy", env, demonstrations(space))
        with pytest.raises(ValueError, match=message):
            small.make(env)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Box(-1, 1, ()), "`observation_space` must have at least one axis, got Box"),
        (spaces.Discrete(3, start=1), r"`observation_space` must start at 0, got Discrete\(3, start=1\)"),
        (spaces.Dict({"a": spaces.Box(-1, 1, ())}), r"`observation_space\['a'\]` must have at least one axis"),
        (spaces.Dict({"a": spaces.Discrete(2, start=1)}), r"`observation_space\['a'\]` must start at 0"),
    ],
    ids=str,
)
def test_observations_that_are_refused(space: spaces.Space[Any], message: str) -> None:
    """SB3 has no features extractor for them, or fails at the largest value."""
    env: Any = AnyActions(BOXES["double"])
    env.observation_space = space
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    for method in (AIRL, BC, SQIL):
        with pytest.raises(ValueError, match=message):
            method(policy, env)
    with pytest.raises(ValueError, match=message):
        small.make(env, policy)
