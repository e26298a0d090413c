"""An environment made from its description is the one that was described."""

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import PendulumEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import RescaleAction, TimeLimit, TransformReward
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize, VecTransposeImage

from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.environments import EnvDescription, env_record, spec_of_id


def described(env: Any) -> EnvDescription:
    description = EnvDescription.of_env(env)
    assert description is not None
    return description


def wrappers(env: gym.Env[Any, Any]) -> list[str]:
    names = []
    while isinstance(env, gym.Wrapper):
        names.append(type(env).__name__.removeprefix("Patched"))  # RL Zoo replaces the time limit
        env = env.env
    return names


def changing(env: gym.Env[Any, Any]) -> list[str]:
    """Return the names of the wrappers that change something."""
    return [name for name in wrappers(env) if name not in ("OrderEnforcing", "PassiveEnvChecker")]


def limits(env: gym.Env[Any, Any]) -> list[int]:
    found = []
    while isinstance(env, gym.Wrapper):
        if type(env).__name__.endswith("TimeLimit"):  # RL Zoo's or Gymnasium's
            found.append(env._max_episode_steps)  # type: ignore[attr-defined]
        env = env.env
    return found


class Silent(gym.Wrapper[Any, Any, Any, Any]):
    """Records no arguments."""


class Shifted(TimeLimit):
    """Has an argument that its base class does not record."""

    def __init__(self, env: gym.Env[Any, Any], shift: float) -> None:
        super().__init__(env, 100)
        self.shift = shift


def test_arguments_and_time_limit() -> None:
    made = described(gym.make("Pendulum-v1", g=5.0, max_episode_steps=30)).make()
    assert made.unwrapped.g == 5.0 and limits(made) == [30]  # type: ignore[attr-defined]


def test_order_of_wrappers_and_limits() -> None:
    """A limit outside of a repetition counts decisions, one inside of it steps; Gymnasium's own spec confuses them."""
    env = TimeLimit(ActionRepeat(gym.make("Pendulum-v1"), 4), 20)
    made = described(Monitor(env)).make()
    assert limits(made) == [20, 200]
    assert wrappers(made) == ["TimeLimit", "ActionRepeat", "TimeLimit"]
    steps, over = 0, False
    made.reset(seed=0)
    while not over:
        _, _, _, over, _ = made.step(made.action_space.sample())
        steps += 1
    assert steps == 20


@pytest.mark.parametrize("limit", [5, 200, -1])
def test_wrappers_of_the_entry_point(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the registration come on top of them."""

    def make(**kwargs: Any) -> gym.Env[Any, Any]:
        return ActionRepeat(gym.make("Pendulum-v1", **kwargs), 4)

    monkeypatch.setitem(gym.registry, "Held-v0", EnvSpec("Held-v0", make, max_episode_steps=7))
    arguments: Any
    for arguments in ({}, {"max_episode_steps": limit}):
        original = gym.make("Held-v0", **arguments)
        for description in (EnvDescription.of_id("Held-v0", arguments), described(original)):
            made = description.make()
            assert changing(made) == changing(original) and limits(made) == limits(original)


def test_order_of_wrappers_and_limits_in_another_process() -> None:
    """It is unknown there, and would change the length of the episodes."""
    venv = SubprocVecEnv([lambda: TimeLimit(ActionRepeat(gym.make("Pendulum-v1"), 4), 20)])
    with pytest.raises(ValueError, match="`env` must not combine a time limit with other wrappers in other processes"):
        EnvDescription.of_env(venv)
    venv.close()


def test_longest_episode() -> None:
    """In decisions, if actions are repeated."""
    env = gym.make("Pendulum-v1", max_episode_steps=18)
    for wrapped, longest in ((env, 18), (ActionRepeat(env, 4), 5), (TimeLimit(ActionRepeat(env, 4), 3), 3)):
        assert described(wrapped).longest_episode == longest
    assert described(TimeLimit(ActionRepeat(env.unwrapped, 4), 30)).longest_episode == 30
    assert described(ActionRepeat(env.unwrapped, 4)).longest_episode is None


def test_no_time_limit() -> None:
    """Both forms of it, as an argument of ``gymnasium.make``."""
    for nothing in (None, -1):
        spec = spec_of_id("Pendulum-v1", {"max_episode_steps": nothing})
        assert limits(gym.make(spec)) == limits(EnvDescription.of_spec(spec).make()) == []


class PatchedTimeLimit(TimeLimit):
    """The name of the class with which RL Zoo replaces Gymnasium's in the whole process."""


def test_time_limits_of_rl_zoo() -> None:
    env = gym.make("Pendulum-v1").unwrapped
    assert described(PatchedTimeLimit(env, 9)).record() == described(TimeLimit(env, 9)).record()


def test_the_same_numbers() -> None:
    env = RescaleAction(gym.make("Pendulum-v1", g=3.0), np.float32(-0.5), np.float32(0.5))
    made = pickle.loads(pickle.dumps(described(env))).make()
    for each in (env, made):
        each.reset(seed=3)
    for action in np.linspace(-0.5, 0.5, 9, dtype=np.float32):
        one, other = env.step(action[None]), made.step(action[None])
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1] == other[1]


def test_environments_of_vectors() -> None:
    def make() -> gym.Env[Any, Any]:
        return Monitor(gym.make("Pendulum-v1", g=2.0, max_episode_steps=7))

    for venv in (DummyVecEnv([make, make]), SubprocVecEnv([make])):
        made = described(venv).make()
        assert made.unwrapped.g == 2.0 and limits(made) == [7]  # type: ignore[attr-defined]
        venv.close()


def test_environments_that_differ_are_refused() -> None:
    venv = DummyVecEnv([lambda: gym.make("Pendulum-v1"), lambda: gym.make("Pendulum-v1", g=1.0)])
    with pytest.raises(ValueError, match=r"`env` must be a vector of identical environments, got Pendulum.*g=1\.0"):
        EnvDescription.of_env(venv)


@pytest.mark.parametrize("wrapper", [VecNormalize, lambda venv: VecFrameStack(venv, 2)])
def test_wrappers_of_vectors_are_refused(wrapper: Any) -> None:
    with pytest.raises(ValueError, match=r"`env` must not have a vector wrapper, .* got Vec(Normalize|FrameStack)"):
        EnvDescription.of_env(wrapper(DummyVecEnv([lambda: gym.make("Pendulum-v1")])))


def test_transposition_is_left_out() -> None:
    venv = DummyVecEnv([lambda: gym.make("CarRacing-v3", max_episode_steps=5)])
    assert described(VecTransposeImage(venv)).record() == described(venv).record()


@pytest.mark.parametrize(
    ("wrap", "name"), [(Silent, "Silent"), (lambda env: Shifted(env, 2.0), "Shifted"), (None, "Local")]
)
def test_wrappers_without_a_record_are_refused(wrap: Any, name: str) -> None:
    class Local(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
        def __init__(self, env: gym.Env[Any, Any]) -> None:
            RecordConstructorArgs.__init__(self)
            gym.Wrapper.__init__(self, env)

    description = described((wrap or Local)(gym.make("Pendulum-v1")))
    with pytest.raises(ValueError, match=f"`env` must have wrappers that can be re-created, got {name}"):
        description.make()


def test_an_id_with_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is part of the description, so that a process without the registration makes it."""
    description = EnvDescription.of_id("ardae_envs:ardae/MultiGoal-v0", {"max_episode_steps": 3})
    assert description.spec.id == "ardae/MultiGoal-v0" and description.max_episode_steps == 3
    monkeypatch.delitem(gym.registry, "ardae/MultiGoal-v0")
    assert limits(description.make()) == [3]


def test_an_argument_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the class's default."""

    class Tilted(PendulumEnv):
        def __init__(self, tilt: float | None = 1.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.tilt = tilt

    monkeypatch.setitem(gym.registry, "Tilted-v0", EnvSpec("Tilted-v0", lambda **kwargs: Tilted(**kwargs)))
    description = EnvDescription.of_id("Tilted-v0", {"tilt": None})
    assert description.kwargs == {"tilt": None}
    made = EnvDescription.of_id("Tilted-v0", description.kwargs).make()
    assert made.unwrapped.tilt is None  # type: ignore[attr-defined]


def test_substitutes_keep_arguments() -> None:
    env = gym.make("CarRacing-v3", lap_complete_percent=0.5, max_episode_steps=11, render_mode="rgb_array")
    made = described(env).substituted("ardae/CarRacingFast-v0").make()
    assert made.unwrapped.lap_complete_percent == 0.5 and limits(made) == [11]  # type: ignore[attr-defined]
    assert type(made.unwrapped).__name__ == "CarRacingFast"


def test_substitutes_keep_wrappers() -> None:
    """In their order, with their arguments; a limit outside of a repetition counts decisions."""
    env = gym.make("CarRacing-v3", max_episode_steps=50)
    wrapped = TransformReward(TimeLimit(ActionRepeat(env, 4), 3), lambda reward: -float(reward))
    made = described(wrapped).substituted("ardae/CarRacingFast-v0").make()
    assert type(made.unwrapped).__name__ == "CarRacingFast"
    assert wrappers(made) == ["TransformReward", "TimeLimit", "ActionRepeat", "TimeLimit"] and limits(made) == [3, 50]
    rewards = []
    for each in (wrapped, made):
        each.reset(seed=0)
        rewards.append(float(each.step(np.array([0.0, 1.0, 0.0], np.float32))[1]))
    assert rewards[0] == rewards[1] < 0


def test_records() -> None:
    """Everything but the way of rendering tells environments apart."""
    plain = gym.make("Pendulum-v1")
    envs: list[Any] = [
        plain,
        gym.make("Pendulum-v1", g=1.0),
        gym.make("Pendulum-v1", max_episode_steps=3),
        TransformReward(plain, lambda reward: -float(reward)),
        TransformReward(plain, lambda reward: 2 * float(reward)),
        Silent(plain),
        plain.unwrapped.__class__(),
    ]
    records = [env_record(env) for env in envs]
    assert all(a != b for i, a in enumerate(records) for b in records[:i])
    assert env_record(gym.make("Pendulum-v1", render_mode="rgb_array")) == records[0]
    assert env_record(DummyVecEnv([lambda: envs[-1]])) == records[-1] and env_record(None) is None
