"""Evaluation: the interval, the environment, the statistics of VecNormalize, loading, and the record."""

import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.envs.registration import WrapperSpec
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from ardae_rl import evaluation
from ardae_rl.evaluation import bootstrap_interval, evaluate, find_model, load_for_evaluation, official_env
from tests.conftest import untrained

WRAPPED = "WrappedPendulum-v1"


@pytest.fixture(scope="module")
def model() -> SAC:
    return SAC("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, buffer_size=10)


@pytest.fixture
def wrapped_id() -> Iterator[str]:
    """Pendulum, registered with a wrapper that rescales its rewards."""
    wrapper = WrapperSpec("Flattering", "gymnasium.wrappers:TransformReward", {"func": lambda reward: 0.0 * reward})
    gym.register(
        WRAPPED, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=200, additional_wrappers=(wrapper,)
    )
    yield WRAPPED
    del gym.registry[WRAPPED]


def test_interval_of_normal_returns_has_the_textbook_width() -> None:
    values = np.random.default_rng(0).normal(50.0, 10.0, size=400)
    low, high = bootstrap_interval(values)
    half_width = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=0.15 * half_width)
    assert high == pytest.approx(values.mean() + half_width, abs=0.15 * half_width)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, confidence=0.5)[0] > low


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0]]])
def test_interval_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`values` must be a non-empty sequence of finite numbers"):
        bootstrap_interval(values)


def test_returns_are_those_of_the_plain_environment(model: SAC) -> None:
    """Compared with a loop over gymnasium.make, without any wrapper of SB3."""
    result = evaluate(model, "Pendulum-v1", n_episodes=2, seed=7)
    env = gym.make("Pendulum-v1")
    expected = []
    for episode in range(2):
        observation, _ = env.reset(seed=7 + episode)
        total, done = 0.0, False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total, done = total + float(reward), terminated or truncated
        expected.append(total)
    assert result.returns == pytest.approx(expected, abs=1e-3)
    assert result.lengths == [200, 200]
    assert result.mean_return == pytest.approx(np.mean(expected), abs=1e-3)
    assert result.std_return == pytest.approx(np.std(expected), abs=1e-3)
    assert result.interval[0] <= result.mean_return <= result.interval[1]


def test_in_several_processes(model: SAC) -> None:
    """The episodes are those of one process, seed by seed."""
    alone, together = (evaluate(model, "Pendulum-v1", 5, seed=7, n_envs=n) for n in (1, 2))
    assert together.returns == pytest.approx(alone.returns, abs=1e-3)
    assert len(set(together.returns)) == 5
    assert together.rows()[4] == {"seed": 11, "return": together.returns[4], "length": 200}


def test_policies_of_images() -> None:
    """A policy alone has the result of its agent: its observations have channels first, the environment's do not."""
    agent = SAC("MultiInputPolicy", "ardae/PlanarObstacles-v0", seed=0, policy_kwargs={"net_arch": [8]}, buffer_size=1)
    by_agent, by_policy = (evaluate(one, "ardae/PlanarObstacles-v0", 2, seed=3) for one in (agent, agent.policy))
    assert by_policy.returns == by_agent.returns
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        evaluate(agent.policy, "Pendulum-v1", 1)


def test_ctrl_c_stays_what_it_is(model: SAC, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the processes of the environments, too, so that closing them meets the end of their pipes."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def close(env: object) -> None:
        raise EOFError

    monkeypatch.setattr(evaluation, "evaluate_policy", interrupt)
    monkeypatch.setattr("stable_baselines3.common.vec_env.DummyVecEnv.close", close)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, "Pendulum-v1", 1)


def test_seed_fixes_sampled_actions(model: SAC) -> None:
    def returns(seed: int, deterministic: bool = False) -> list[float]:
        return evaluate(model, "Pendulum-v1", 1, seed, deterministic).returns

    assert returns(1) == returns(1)
    assert returns(1) != returns(2)
    assert returns(1) != returns(1, deterministic=True)


def test_training_goes_on_as_if_not_evaluated() -> None:
    def trained(evaluated: bool) -> th.Tensor:
        model = SAC("MlpPolicy", "Pendulum-v1", seed=0, policy_kwargs={"net_arch": [8]}, learning_starts=20)
        for part in range(2):
            model.learn(30, reset_num_timesteps=part == 0)
            if evaluated:
                evaluate(model, "Pendulum-v1", 1, deterministic=False)
        return th.cat([random_numbers(), th.nn.utils.parameters_to_vector(model.policy.parameters()).detach()])

    def random_numbers() -> th.Tensor:
        return th.tensor([th.rand(()).item(), np.random.random(), random.random()])

    assert th.equal(trained(True), trained(False))


def test_wrapped_environment_is_refused_unless_asked(model: SAC, wrapped_id: str) -> None:
    with pytest.raises(ValueError, match=r"`env_id` .*`allow_wrappers`.*Flattering"):
        evaluate(model, wrapped_id, 1)
    result = evaluate(model, wrapped_id, 1, allow_wrappers=True)
    assert result.returns == [0.0]
    assert result.additional_wrappers == ["Flattering"]


def test_environment_is_what_gymnasium_makes() -> None:
    made = official_env("Pendulum-v1").envs[0].env  # type: ignore[attr-defined]  # under the Monitor
    assert str(made) == str(gym.make("Pendulum-v1"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_id": "Pendulm-v1"}, "close matches: Pendulum-v1"),
        ({"n_episodes": 0}, "`n_episodes` must be >= 1, got 0"),
        ({"n_envs": 0}, "`n_envs` must be >= 1, got 0"),
    ],
)
def test_wrong_arguments(model: SAC, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(model, **{"env_id": "Pendulum-v1", **arguments})  # type: ignore[arg-type]


def test_other_spaces_are_refused(model: SAC) -> None:
    with pytest.raises(ValueError, match="spaces do not match"):
        evaluate(model, "MountainCarContinuous-v0", 1)


def test_observation_statistics_of_the_run_folder(tmp_path: Path) -> None:
    """A policy trained on normalized observations acts on them, and its returns stay unnormalized."""
    env = VecNormalize(make_vec_env("Pendulum-v1"), norm_reward=True)
    ppo = PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0).learn(256)
    (tmp_path / "Pendulum-v1").mkdir()
    (tmp_path / "Pendulum-v1/config.yml").touch()
    ppo.save(tmp_path / "Pendulum-v1.zip")
    env.save(str(tmp_path / "Pendulum-v1/vecnormalize.pkl"))

    path, statistics = find_model(tmp_path)
    assert path == tmp_path / "Pendulum-v1.zip" and statistics is not None
    loaded = load_for_evaluation("ppo", path)
    result = evaluate(loaded, "Pendulum-v1", 1, seed=3, vecnormalize=statistics)
    assert result.normalized_observations

    plain = gym.make("Pendulum-v1")
    observation, _ = plain.reset(seed=3)
    total, done = 0.0, False
    while not done:
        action, _ = loaded.predict(env.normalize_obs(observation), deterministic=True)
        observation, reward, _, done, _ = plain.step(action)
        total += float(reward)
    assert result.mean_return == pytest.approx(total, abs=1e-2)
    assert evaluate(loaded, "Pendulum-v1", 1, seed=3).mean_return != pytest.approx(total, abs=1e-2)


def test_find_model(tmp_path: Path) -> None:
    (tmp_path / "best_model.zip").touch()
    assert find_model(tmp_path / "best_model.zip") == (tmp_path / "best_model.zip", None)
    with pytest.raises(ValueError, match=r"`path` must be .*best_model\.zip"):
        find_model(tmp_path)


def test_loading_takes_no_replay_memory(model: SAC, tmp_path: Path) -> None:
    sac = SAC("MlpPolicy", "Pendulum-v1", buffer_size=5000, policy_kwargs={"net_arch": [8]})
    sac.save(tmp_path / "m.zip")
    loaded = load_for_evaluation("sac", tmp_path / "m.zip")
    assert isinstance(loaded, SAC) and loaded.replay_buffer is not None
    assert loaded.replay_buffer.buffer_size == 1


def test_model_of_another_algorithm_is_refused(model: SAC, tmp_path: Path) -> None:
    model.save(tmp_path / "m.zip")
    with pytest.raises(ValueError, match=r"`algo` must be .*, got 'ppo', but .* has a SACPolicy"):
        load_for_evaluation("ppo", tmp_path / "m.zip")


@pytest.mark.parametrize(("made", "policy"), [("sac_nf", "SACNFPolicy"), ("sac_ardae", "SACARDAEPolicy")])
def test_model_with_a_derived_policy_is_refused(made: str, policy: str, tmp_path: Path) -> None:
    """To Python these policies are policies of SAC; their results must not be called SAC's."""
    untrained(made).save(tmp_path / "m.zip")
    with pytest.raises(ValueError, match=rf"got 'sac', but .* has a {policy}: use '{made}'"):
        load_for_evaluation("sac", tmp_path / "m.zip")
    assert type(load_for_evaluation(made, tmp_path / "m.zip").policy).__name__ == policy


@pytest.mark.parametrize(
    ("made", "algo", "reason"),
    [
        ("sqil", "sac", "was trained with 'sqil'"),
        ("sac", "sqil", "was trained with another one"),
        ("bc", "ppo", "was trained with 'bc'"),
        ("bc", "a2c", "was trained with 'bc'"),
        ("ppo", "bc", "was trained with another one"),
        ("ppo", "a2c", "has the arguments of 'ppo'"),
        ("ppo", "trpo", "has the arguments of 'ppo'"),
        ("trpo", "a2c", "has the arguments of 'trpo'"),
    ],
)
def test_model_of_another_algorithm_with_the_same_policy_is_refused(
    made: str, algo: str, reason: str, tmp_path: Path
) -> None:
    untrained(made).save(tmp_path / "m.zip")
    with pytest.raises(ValueError, match=rf"`algo` must be .*, got '{algo}', but .* {reason}"):
        load_for_evaluation(algo, tmp_path / "m.zip")


@pytest.mark.parametrize("algo", ["td3", "ddpg", "ppo", "a2c", "trpo", "bc", "sqil"])
def test_models_that_share_policies_load(algo: str, tmp_path: Path) -> None:
    untrained(algo).save(tmp_path / "m.zip")
    assert load_for_evaluation(algo, tmp_path / "m.zip").predict(np.zeros(3, np.float32))[0].shape == (1,)


def test_model_of_an_algorithm_for_any_policy(model: SAC, tmp_path: Path) -> None:
    model.save(tmp_path / "m.zip")
    with pytest.raises(ValueError, match=r"got 'airl', but .* cannot be loaded as such"):
        load_for_evaluation("airl", tmp_path / "m.zip")


def test_file_without_a_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as file:
        file.writestr("notes.txt", "none")
    with pytest.raises(ValueError, match=r"`path` must be a model .*m\.zip, which names no policy"):
        load_for_evaluation("sac", tmp_path / "m.zip")


def edited(source: Path, target: Path, **members: str | None) -> None:
    """Copy a zip with other contents of some members, or without them."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            text = members.get(name.replace(".", "_"), old.read(name))
            if text is not None:
                new.writestr(name, text)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"policy_pth": "none"}, "Error"),
        ({"policy_pth": None}, "KeyError"),
        ({"data": "[1]"}, "AttributeError"),
        ({"data": "{"}, "JSONDecodeError"),
    ],
)
def test_damaged_model_is_refused(model: SAC, members: dict[str, str | None], reason: str, tmp_path: Path) -> None:
    model.save(tmp_path / "m.zip")
    edited(tmp_path / "m.zip", tmp_path / "damaged.zip", **members)
    with pytest.raises(ValueError, match=rf"`path` must be an intact model .*damaged\.zip: \w*{reason}") as stop:
        load_for_evaluation("sac", tmp_path / "damaged.zip")
    assert "\n" not in str(stop.value)


def test_damaged_weights_and_spaces_are_refused(model: SAC, tmp_path: Path) -> None:
    """Weights of another size, and data that lost the spaces: neither is the fault of the algorithm's name."""
    model.save(tmp_path / "m.zip")
    SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [9]}, buffer_size=10).save(tmp_path / "other.zip")
    data = {}
    for name in ("m", "other"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as file:
            data[name] = file.read("data").decode()
    edited(tmp_path / "m.zip", tmp_path / "size.zip", data=data["other"])
    spaceless = {key: value for key, value in json.loads(data["m"]).items() if key != "action_space"}
    edited(tmp_path / "m.zip", tmp_path / "spaces.zip", data=json.dumps(spaceless))
    for name, reason in (("size", "RuntimeError"), ("spaces", "KeyError")):
        with pytest.raises(ValueError, match=rf"`path` must be an intact model saved by .*{name}\.zip: {reason}"):
            load_for_evaluation("sac", tmp_path / f"{name}.zip")


def test_a_model_trained_with_hindsight_experience(tmp_path: Path) -> None:
    """Its replay buffer would ask for the environment, which loading for evaluation does not have."""

    box = gym.spaces.Box(-1, 1, (2,))

    class Goal(gym.Env[Any, Any]):
        observation_space = gym.spaces.Dict({name: box for name in ("observation", "achieved_goal", "desired_goal")})
        action_space = box

        def reset(self, **kwargs: Any) -> Any:
            return self.observation_space.sample(), {}

        def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
            return np.zeros(len(achieved))

    env = gym.wrappers.TimeLimit(Goal(), 5)
    SAC("MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, buffer_size=100).save(tmp_path / "m.zip")
    loaded = load_for_evaluation("sac", tmp_path / "m.zip")
    action, _ = loaded.predict(Goal().observation_space.sample())
    assert action.shape == (2,)


def test_record(model: SAC, tmp_path: Path) -> None:
    result = evaluate(model, "Pendulum-v1", n_episodes=3)
    result.write(tmp_path / "new/evaluation.json")
    record = json.loads((tmp_path / "new/evaluation.json").read_text())
    assert record["env_id"] == "Pendulum-v1" and record["n_episodes"] == 3
    assert record["interval"] == list(result.interval)
    assert len(record["returns"]) == len(record["lengths"]) == 3
    assert record["deterministic"] is True and record["seed"] == 0
    assert {"python", "ardae-rl", "stable-baselines3", "gymnasium", "torch", "numpy"} <= record["versions"].keys()
