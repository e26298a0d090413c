"""BC and SQIL, as users of SB3 call them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from ardae_envs.absorbing import AbsorbingState
from ardae_rl.irl import AIRL, BC, SQIL, collect_demonstrations, save_trajectories
from ardae_rl.irl.trajectories import Trajectory
from ardae_rl.registry import ALGORITHMS
from ardae_rl.runs import progress
from tests.common.models import assert_equal_states
from tests.irl.counting import Counting
from tests.irl.test_adversarial import demonstrations
from tests.irl.test_adversarial import make as make_adversarial
from tests.irl.test_trajectories import Always

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8, 8]}, "seed": 0, "device": "cpu", "batch_size": 16}
METHODS: dict[str, type[Any]] = {"bc": BC, "sqil": SQIL}


def make(method: type[Any], env: Any = None, demos: Any = None, **arguments: Any) -> Any:
    if env is None:
        env, demos = Counting(), demonstrations()
    own = {"learning_starts": 10, "buffer_size": 500} if method is SQIL else {"learning_rate": 1e-2}
    policy = "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "MlpPolicy"
    return method(policy, env, demos, **(SMALL | own | arguments))


@pytest.mark.parametrize("name", METHODS)
def test_learn_save_load_continue(name: str, tmp_path: Path) -> None:
    method = METHODS[name]
    assert ALGORITHMS[name].load() is method and ALGORITHMS[name].needs_demonstrations
    model = make(method).learn(40)
    assert model.num_timesteps == 40
    model.save(tmp_path / "model")
    loaded = method.load(tmp_path / "model", env=Counting(), demonstrations=demonstrations(), device="cpu")
    assert_equal_states(model.policy.state_dict(), loaded.policy.state_dict())
    obs = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 60
    acting = method.load(tmp_path / "model", device="cpu")  # without an environment
    assert acting.predict(obs)[0].shape == (3, 1)


@pytest.mark.parametrize("method", METHODS.values())
def test_seeds(method: type[Any]) -> None:
    first, again, other = (make(method, seed=seed).learn(20).policy.state_dict() for seed in (3, 3, 4))
    assert all(th.equal(first[name], again[name]) for name in first)
    assert not all(th.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("method", METHODS.values())
def test_callbacks_evaluate(method: type[Any]) -> None:
    evaluation = EvalCallback(make_vec_env(Counting), eval_freq=20, verbose=0)
    make(method).learn(40, callback=evaluation)
    assert evaluation.best_mean_reward == 15


@pytest.mark.parametrize("form", ["discrete", "dictionary"])
def test_cloning_in_other_spaces(form: str) -> None:
    """Demonstrations always have action 1."""
    arguments: dict[str, Any] = {"discrete": True} if form == "discrete" else {"as_dict": True}
    env, obs = Counting(**arguments), np.array([2.0, 1.0], np.float32)
    model = make(BC, env, demonstrations(2, **arguments)).learn(200)
    action, _ = model.predict({"vector": obs} if form == "dictionary" else obs, deterministic=True)
    assert action == pytest.approx(1, abs=0.2)


def test_cloning_is_maximum_likelihood() -> None:
    """A policy without inputs has the mean and the standard deviation of the demonstrated actions."""
    rng = np.random.default_rng(0)
    actions = rng.normal(0.5, 0.3, (1000, 1)).astype(np.float32)
    demos = [Trajectory(np.zeros((1001, 2), np.float32), actions)]
    policy_kwargs = {"net_arch": [], "activation_fn": nn.Tanh}
    model = make(BC, Counting(), demos, policy_kwargs=policy_kwargs, batch_size=1000).learn(500)
    assert model.predict(np.zeros(2, np.float32), deterministic=True)[0] == pytest.approx(actions.mean(), abs=0.03)
    assert float(model.policy.log_std.detach().exp()) == pytest.approx(actions.std(), abs=0.03)


def test_the_last_gradient_steps_of_cloning_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, dict[str, Any]]] = []

    class Memory(KVWriter):
        def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
            written.append((step, dict(key_values)))

        def close(self) -> None: ...

    model = make(BC)
    model.set_logger(Logger(None, [Memory()]))
    model.learn(7, log_interval=5)
    assert [step for step, _ in written] == [5, 7] and all("train/log_prob" in values for _, values in written)
    model.learn(3, log_interval=5, reset_num_timesteps=False)
    assert [step for step, _ in written] == [5, 7, 10]
    monkeypatch.setattr(model, "_update", lambda: th.tensor(np.nan))
    with pytest.raises(ValueError, match="log_prob is nan after 3 gradient steps: training has diverged"):
        model.learn(3)


def test_bar_counts_gradient_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, however many environments there are; a continued training continues the count."""
    bars: list[tuple[int, list[int]]] = []

    @contextmanager
    def recorded(description: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
        assert description == "gradient steps" and wanted
        bars.append((total, []))
        yield bars[-1][1].append

    monkeypatch.setattr(progress, "progress_bar", recorded)
    model = make(BC, make_vec_env(Counting, 4), demonstrations())
    model.learn(7, progress_bar=True).learn(5, progress_bar=True, reset_num_timesteps=False)
    assert bars == [(7, [*range(1, 8)]), (12, [*range(8, 13)])]


def test_cloning_sees_no_normalized_observations() -> None:
    model = make(BC)
    before = model.get_env()
    with pytest.raises(ValueError, match="`env` must not contain a VecNormalize, got one"):
        model.set_env(VecNormalize(make_vec_env(Counting)))
    assert model.get_env() is before
    model.set_env(make_vec_env(Counting))
    assert model.get_env() is not before


def test_batches_of_sqil() -> None:
    """Half are demonstrations with reward 1 and scaled actions, half are own transitions with reward 0."""
    model = make(SQIL).learn(40)
    batch = model.replay_buffer.sample(10)
    assert batch.rewards.flatten().tolist() == [1.0] * 5 + [0.0] * 5
    assert (batch.actions[:5] == 0.5).all()  # 1 in [-2, 2]
    assert not (batch.actions[5:] == 0.5).any()
    for observation, next_observation in zip(batch.observations[:5], batch.next_observations[:5], strict=True):
        assert next_observation[0] == observation[0] + 1
    assert (batch.dones[:5] == 0).all()  # truncated episodes


def test_replay_buffer_of_sqil(tmp_path: Path) -> None:
    model = make(SQIL).learn(40)
    model.save_replay_buffer(tmp_path / "buffer")
    model.load_replay_buffer(tmp_path / "buffer")
    assert model.replay_buffer.size() == 40 and model.replay_buffer.sample(4).rewards.sum() == 2


@pytest.mark.parametrize("method", METHODS.values())
def test_absorbing_states(method: type[Any]) -> None:
    env = AbsorbingState(Counting(ends=True))
    model = make(method, env, demonstrations(2, ends=True)).learn(20)
    assert model.demonstrations[0].observations.shape == (5, 3)


@pytest.mark.parametrize("method", [AIRL, *METHODS.values()])
def test_demonstrations_for_a_model_without_an_environment(method: type[Any], tmp_path: Path) -> None:
    """They get absorbing states if the model was made for an environment that has them."""
    env, demos = AbsorbingState(Counting(ends=True)), demonstrations(2, ends=True)
    model = make_adversarial(method, "sac", env, demos) if method is AIRL else make(method, env, demos)
    model.save(tmp_path / "model")
    loaded = method.load(tmp_path / "model", device="cpu", demonstrations=demos)
    assert [demo.observations.shape for demo in loaded.demonstrations] == [(5, 3)] * 2
    loaded.set_env(env)
    loaded.learn(20)


class Appending(gym.ObservationWrapper[Any, Any, Any]):
    """Append a one, which would read as the mark of an absorbing state."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (4,), np.float32)

    def observation(self, observation: Any) -> Any:
        return np.append(observation, 1).astype(np.float32)


@pytest.mark.parametrize("method", [AIRL, *METHODS.values()])
def test_wrappers_around_absorbing_states(method: type[Any]) -> None:
    """If they change the observations, the last entry no longer marks an absorbing state."""

    def made(env: gym.Env[Any, Any]) -> Any:
        demos = collect_demonstrations(always, make_vec_env(lambda: env), 1)
        return make_adversarial(method, "sac", env, demos) if method is AIRL else make(method, env, demos)

    always: Any = Always(np.array([1.0], np.float32))
    message = r"`env` must have AbsorbingState outside of all wrappers that change the observation space, got .*\(4,\)"
    with pytest.raises(ValueError, match=message):
        made(Appending(AbsorbingState(Counting(ends=True))))
    model = made(AbsorbingState(gym.wrappers.TimeLimit(Counting(ends=True), 4)))
    before = model.get_env()
    if method is AIRL:
        with pytest.raises(ValueError, match=message):
            model.set_env(Appending(AbsorbingState(Counting(ends=True))))
        assert model.get_env() is before
    made(gym.wrappers.TimeLimit(AbsorbingState(Counting(ends=True)), 4)).learn(10)


@pytest.mark.parametrize("method", METHODS.values())
def test_errors(method: type[Any]) -> None:
    with pytest.raises(ValueError, match=r"`demonstrations` must be trajectories, .* got None"):
        make(method, Counting(), None).learn(10)
    with pytest.raises(ValueError, match="`demonstrations` must have at least one trajectory, got none"):
        make(method, Counting(), [])
    with pytest.raises(ValueError, match=r"`demonstrations\[0\]\.actions` must have rows of shape \(1,\), got \(\)"):
        make(method, Counting(), demonstrations(1, discrete=True))
    with pytest.raises(TypeError, match=r"`demonstrations` must be a sequence of trajectories, got a Trajectory"):
        make(method, Counting(), demonstrations(1)[0])
    with pytest.raises(TypeError, match=r"`demonstrations\[1\]` must be a Trajectory, got a ndarray"):
        make(method, Counting(), [*demonstrations(1), np.zeros((3, 2))])


def test_errors_of_sqil() -> None:
    with pytest.raises(ValueError, match="`n_steps` must be 1, got 3"):
        make(SQIL, n_steps=3)
    with pytest.raises(ValueError, match="`env` must have array observations, got a dictionary"):
        make(SQIL, Counting(as_dict=True), demonstrations(1, as_dict=True))


def test_demonstrations_in_a_file(tmp_path: Path) -> None:
    save_trajectories(tmp_path / "demos.npz", demonstrations(2))
    assert len(make(BC, Counting(), tmp_path / "demos.npz").demonstrations) == 2


@pytest.mark.parametrize("method", METHODS.values())
def test_load_with_demonstrations_in_a_file(method: type[Any], tmp_path: Path) -> None:
    make(method).save(tmp_path / "model")
    save_trajectories(tmp_path / "demos.npz", demonstrations(2))
    loaded = method.load(tmp_path / "model", Counting(), "cpu", demonstrations=str(tmp_path / "demos.npz")).learn(20)
    assert len(loaded.demonstrations) == 2
    with pytest.raises(ValueError, match="`observation` must be finite, got 1 of 2 values that are not"):
        loaded.predict(np.array([0, np.inf], np.float32), deterministic=True)
