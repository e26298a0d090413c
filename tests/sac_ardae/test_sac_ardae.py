"""SACARDAE as Stable-Baselines3's users hold it: environments, saving, continuing, seeds, refusals."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, IdentityEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her import HerReplayBuffer
from torch import nn

from ardae_rl import SACARDAE
from ardae_rl.sac_ardae.policies import EncodedStates
from sac_ardae.small import ARGUMENTS, POLICY_KWARGS, SCORE_KWARGS, changed, make, parameters

SMALL_CNN: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 8}}
NO_DENSITY: dict[str, Any] = {"backup_entropy": False, "ent_coef": 0.1}

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "fixed temperature": {"ent_coef": 0.05},
    "initial temperature": {"ent_coef": "auto_0.1"},
    "target entropy": {"target_entropy": -2},
    "no backup of the entropy": {"backup_entropy": False},
    "calibration": {"target_calibration": True},
    "contrastive": {"log_partition": "contrastive"},
    "dual": {"log_partition": "dual"},
    "importance": {"log_partition": "importance"},
    "immse": {"log_partition": "immse", "n_importance": 3, "batch_size": 8},
    "no partition": {"log_partition": None, **NO_DENSITY},
    "vector": {"score_head": "vector", **NO_DENSITY},
    "vector, immse": {"score_head": "vector", "log_partition": "immse", "batch_size": 8},
    "ardae loss": {"score_loss": "ardae"},
    "centre": {"policy_kwargs": {"frame": "centre"}},
    "no frame": {"policy_kwargs": {"frame": "none"}},
    "paper": {
        "score_loss": "ardae",
        "policy_kwargs": {"frame": "centre", "score_kwargs": SCORE_KWARGS | {"preconditioned": False}},
        "ent_coef": 0.05,
    },
    "no clamping": {"clamp_eta": 0},
    "clamping": {"clamp_eta": 0.1, "clamp_on": "pre_tanh", "n_perturb": 3, "clamp_nu": 1.3, "clamp_max_weight": 10},
    "no gradient limit": {"actor_gradient_limit": 0},
    "schedules": {"learning_rate": lambda progress: 1e-3 * progress, "score_learning_rate": lambda progress: progress},
    "shared extractor": {"policy_kwargs": {"share_features_extractor": True}},
    "few updates of the target": {"target_update_interval": 3, "gradient_steps": 2, "train_freq": 2},
    "n-step": {"n_steps": 3},
    "memory": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
}
all_forms = pytest.mark.parametrize("form", FORMS)


def assert_equal_states(one: Any, other: Any) -> None:
    """Of nested dictionaries and lists of tensors and numbers."""
    if isinstance(one, th.Tensor):
        assert th.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal_states(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_equal_states(*pair)
    else:
        assert one == other


def assert_same_predictions(one: SACARDAE, other: SACARDAE) -> None:
    one.observation_space.seed(0)
    for _ in range(5):
        observation = one.observation_space.sample()
        for deterministic in (True, False):
            th.manual_seed(0)
            action, _ = one.predict(observation, deterministic=deterministic)
            th.manual_seed(0)
            assert np.array_equal(action, other.predict(observation, deterministic=deterministic)[0])


@all_forms
def test_train_save_load_continue(form: str, tmp_path: Path) -> None:
    """Everything is restored, optimisers included: training goes on as if it had not been interrupted."""
    model = make(**FORMS[form]).learn(20)
    assert model._n_updates == 10
    assert changed(parameters(make(**FORMS[form])), parameters(model)) >= {"actor", "critic", "critic_target"}
    assert all(bool(tensor.isfinite().all()) for tensor in parameters(model).values())
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = SACARDAE.load(tmp_path / "model.zip", env=gym.make("Pendulum-v1"), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert_equal_states(model.get_parameters(), loaded.get_parameters())
    assert_same_predictions(model, loaded)
    for name in ("ent_coef_value", "target_entropy", "_n_updates", "num_timesteps", "policy_kwargs"):
        assert getattr(loaded, name) == getattr(model, name), name
    loaded.set_logger(model.logger)
    for continued in (model, loaded):
        th.manual_seed(1)
        np.random.seed(1)
        continued.train(gradient_steps=3, batch_size=8)
    assert loaded._n_updates == 13
    assert_equal_states(model.get_parameters(), loaded.get_parameters())
    assert_equal_states(parameters(model), parameters(loaded))
    loaded.learn(5, reset_num_timesteps=False)
    assert loaded.num_timesteps >= 25


def test_what_is_saved(tmp_path: Path) -> None:
    """By name, as set_parameters demands: nothing else is trained."""
    expected = {"policy", "actor.optimizer", "critic.optimizer", "estimator.optimizer", "limit_actor_gradient"}
    assert make(ent_coef=0.1).get_parameters().keys() == expected
    model = make(target_calibration=True).learn(15)
    assert model.get_parameters().keys() == expected | {"ent_coef_optimizer", "calibration"}
    assert model.calibration is not None and model.calibration.count == 5
    model.save(tmp_path / "model.zip")
    data, state, variables = load_from_zip_file(tmp_path / "model.zip", device="cpu")
    assert data is not None and state is not None and variables is not None
    assert not any(isinstance(value, nn.Module) for value in data.values()), "modules are saved once, as state dicts"
    assert state.keys() == model.get_parameters().keys() and variables.keys() == {"log_ent_coef"}


def test_parameters_can_be_set() -> None:
    model, other = make(target_calibration=True).learn(15), make(target_calibration=True, seed=1)
    saved: dict[str, Any] = copy.deepcopy(model.get_parameters())
    other.set_parameters(saved, exact_match=True, device="cpu")
    assert_equal_states(saved, other.get_parameters())
    random: dict[str, Any] = {
        name: state if "optim" in name else {key: th.rand_like(tensor) for key, tensor in state.items()}
        for name, state in saved.items()
    }
    model.set_parameters(random, exact_match=True)
    assert_equal_states(random, model.get_parameters())
    model.set_parameters(saved, exact_match=True)
    assert_same_predictions(model, other)
    del saved["estimator.optimizer"]
    with pytest.raises(ValueError, match=r"estimator\.optimizer"):
        model.set_parameters(saved, exact_match=True)


def test_loaded_without_an_environment(tmp_path: Path) -> None:
    model = make().learn(15)
    model.save(tmp_path / "model.zip")
    loaded = SACARDAE.load(tmp_path / "model.zip", env=None, device="cpu")
    assert_same_predictions(model, loaded)
    evaluate_policy(loaded, make_vec_env("Pendulum-v1"), n_eval_episodes=1)
    loaded.set_env(gym.make("Pendulum-v1"))
    loaded.learn(15)


def test_loaded_with_other_arguments(tmp_path: Path) -> None:
    """policy_kwargs as given to the constructor are those that are saved; other arguments are replaced and checked."""
    model = make(n_importance=7)
    assert model.policy_kwargs == POLICY_KWARGS
    model.save(tmp_path / "model.zip")
    loaded = SACARDAE.load(tmp_path / "model.zip", policy_kwargs=POLICY_KWARGS, gamma=0.5, score_loss="ardae")
    assert loaded.gamma == 0.5 and loaded.estimator.loss == "ardae" and loaded.estimator.n_importance == 7
    with pytest.raises(ValueError, match="policy kwargs do not equal"):
        SACARDAE.load(tmp_path / "model.zip", policy_kwargs={"net_arch": [16, 16]})
    with pytest.raises(ValueError, match="score_head='scalar': accepted are"):
        SACARDAE.load(tmp_path / "model.zip", score_head="scalar")


def test_arguments_of_the_estimator() -> None:
    given = {"net_arch": [16, 16], "score_kwargs": SCORE_KWARGS | {"noise_scale": 0.2}}
    before = copy.deepcopy(given)
    model = SACARDAE("MlpPolicy", "Pendulum-v1", policy_kwargs=given, **ARGUMENTS | {"score_loss": "ardae"})
    estimator = model.estimator
    assert (estimator.noise_scale.scale, estimator.loss, estimator.log_partition) == (0.2, "ardae", "contrastive")
    assert given == before, "the caller's"


def test_compiled_policy(tmp_path: Path) -> None:
    model = make()
    model.policy = th.compile(model.policy, backend="eager")  # type: ignore[assignment]
    model.learn(15)
    model.save(tmp_path / "model.zip")
    loaded = SACARDAE.load(tmp_path / "model.zip", env=gym.make("Pendulum-v1"), device="cpu")
    assert_same_predictions(model, loaded)
    loaded.learn(15)


class OtherReward(gym.RewardWrapper[Any, Any]):
    """Another reward from the n-th step on."""

    def __init__(self, env: gym.Env[Any, Any], value: float, start: int):
        super().__init__(env)
        self.value, self.steps_left = value, start

    def reward(self, reward: Any) -> float:
        self.steps_left -= 1
        return float(reward) if self.steps_left >= 0 else self.value


class BoxEnv(gym.Env[np.ndarray, np.ndarray]):
    """Episodes of five random observations; checks its actions."""

    def __init__(self, action_space: spaces.Space[Any], observation_space: spaces.Space[Any] | None = None):
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1, 1, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observation_space.sample(), float(np.sum(action)), self.steps >= 5, False, {}


ENVIRONMENTS: dict[str, tuple[Callable[[], gym.Env[Any, Any]], str, dict[str, Any]]] = {
    "float64": (
        lambda: BoxEnv(spaces.Box(-2.0, 3.0, (2,), np.float64), spaces.Box(-1, 1, (2,), np.float64)),
        "Mlp",
        {},
    ),
    "matrix of actions": (lambda: BoxEnv(spaces.Box(-1, 1, (2, 2))), "Mlp", {}),
    "discrete observations": (lambda: BoxEnv(spaces.Box(-1, 1, (1,)), spaces.Discrete(3)), "Mlp", {}),
    "images": (lambda: FakeImageEnv(screen_height=40, screen_width=40, discrete=False), "Cnn", SMALL_CNN),
    "images, shared extractor": (
        lambda: FakeImageEnv(screen_height=40, screen_width=40, discrete=False),
        "Cnn",
        SMALL_CNN | {"share_features_extractor": True},
    ),
    "dictionary": (lambda: SimpleMultiObsEnv(discrete_actions=False), "MultiInput", {}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name: str, tmp_path: Path) -> None:
    env, policy, policy_kwargs = ENVIRONMENTS[name]
    model = make(env(), f"{policy}Policy", policy_kwargs=policy_kwargs, batch_size=8, buffer_size=100).learn(16)
    assert model._n_updates == 6
    vec_env = model.get_env()
    assert vec_env is not None
    observation: Any = vec_env.reset()
    action, _ = model.predict(observation)
    assert model.action_space.contains(action[0].astype(model.action_space.dtype))
    obs, _ = model.policy.obs_to_tensor(observation)
    assert model.policy.log_prob(obs, th.as_tensor(action)).shape == model.policy.entropy(obs).shape == (1,)
    assert model.critic(obs, model.actor(obs))[0].shape == (1, 1)
    model.save(tmp_path / "model.zip")
    assert_same_predictions(model, SACARDAE.load(tmp_path / "model.zip", env=env(), device="cpu"))


def test_hindsight_experience_replay(tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True)
    model = make(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer, batch_size=8, learning_starts=20)
    model.learn(40)
    assert model._n_updates == 20
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = SACARDAE.load(tmp_path / "model.zip", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert_same_predictions(model, loaded)
    loaded.learn(10, reset_num_timesteps=False)


def test_normalised_environment() -> None:
    """The replay buffer holds what the environment gave; the networks see what VecNormalize makes of it."""
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0))
    model = make(env).learn(60)
    assert model.replay_buffer is not None and model.get_vec_normalize_env() is env
    assert model.replay_buffer.rewards.min() < -1 and model._n_updates > 0
    evaluate_policy(model, env, n_eval_episodes=1)


@pytest.mark.parametrize(
    ("n_envs", "arguments", "n_updates"),
    [
        (1, {"train_freq": 4, "gradient_steps": 2}, 6 * 2),
        (1, {"train_freq": (1, "episode"), "gradient_steps": 3}, 4 * 3),
        (1, {"train_freq": (1, "episode"), "gradient_steps": -1}, 4 * 5),
        (3, {"train_freq": 2, "gradient_steps": -1}, 6 * 4),
        (3, {"train_freq": 1, "gradient_steps": 1}, 7),
    ],
    ids=str,
)
def test_training_frequency(n_envs: int, arguments: dict[str, Any], n_updates: int) -> None:
    """30 steps, of which the first 10 are not trained on."""
    env = make_vec_env(lambda: BoxEnv(spaces.Box(-1, 1, (2,))), n_envs=n_envs)
    model = make(env, batch_size=8, **arguments).learn(30)
    assert model._n_updates == n_updates
    assert model.logger.name_to_value["train/n_updates"] == n_updates


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("noise", [NormalActionNoise, OrnsteinUhlenbeckActionNoise])
def test_action_noise(noise: type[NormalActionNoise], n_envs: int) -> None:
    env = make_vec_env("Pendulum-v1", n_envs=n_envs)
    model = make(env, action_noise=noise(np.zeros(1), 0.1 * np.ones(1))).learn(20)
    assert model.replay_buffer is not None
    actions = model.replay_buffer.actions[: model.replay_buffer.pos]
    assert np.abs(actions).max() <= 1


def test_callbacks_and_tensorboard(tmp_path: Path) -> None:
    env = make_vec_env(lambda: BoxEnv(spaces.Box(-1, 1, (2,))), n_envs=1)
    model = make(env, tensorboard_log=str(tmp_path))
    logged: set[str] = set()

    class Record(BaseCallback):
        def _on_step(self) -> bool:
            logged.update(self.logger.name_to_value)
            return True

    callbacks = [
        CheckpointCallback(20, str(tmp_path / "checkpoints"), save_replay_buffer=True),
        EvalCallback(env, eval_freq=20, n_eval_episodes=1, best_model_save_path=str(tmp_path / "best"), verbose=0),
        Record(),
    ]
    model.learn(40, CallbackList(callbacks), log_interval=100)
    assert (tmp_path / "checkpoints" / "rl_model_40_steps.zip").exists()
    assert (tmp_path / "checkpoints" / "rl_model_replay_buffer_40_steps.pkl").exists()
    SACARDAE.load(tmp_path / "best" / "best_model.zip", device="cpu")
    assert list((tmp_path / "SACARDAE_1").glob("events.out.tfevents.*"))
    names = "n_updates learning_rate ent_coef ent_coef_loss actor_loss critic_loss entropy target_q score_loss"
    assert {f"train/{name}" for name in names.split()} <= logged


def test_seeds() -> None:
    states = [parameters(make(seed=seed).learn(30)) for seed in (0, 0, 1)]
    assert changed(states[0], states[1]) == set()
    assert changed(states[0], states[2]) >= {"actor", "critic", "critic_target", "estimator", "ent_coef"}


def test_estimator_starts_with_its_own_learning_rate() -> None:
    """Before any training too: the closed loop steps the estimator without it."""
    model = make(learning_rate=1e-5, score_learning_rate=2e-3)
    assert {group["lr"] for group in model.estimator.optimizer.param_groups} == {2e-3}


def test_learning_rate_schedules() -> None:
    model = make(learning_rate=lambda progress: 1e-3 * progress, score_learning_rate=lambda progress: 1e-2 * progress)
    model.learn(15)
    assert model.ent_coef_optimizer is not None
    model._current_progress_remaining = 0.25
    model.train(gradient_steps=1, batch_size=8)
    for optimizer, initial in (
        (model.actor.optimizer, 1e-3),
        (model.critic.optimizer, 1e-3),
        (model.ent_coef_optimizer, 1e-3),
        (model.estimator.optimizer, 1e-2),
    ):
        assert all(group["lr"] == pytest.approx(initial / 4) for group in optimizer.param_groups)
    constant = make(score_learning_rate=5e-3).learn(12)
    assert {group["lr"] for group in constant.estimator.optimizer.param_groups} == {5e-3}


def test_temperature() -> None:
    assert make(ent_coef=0.3).ent_coef_value.item() == pytest.approx(0.3)
    assert make(ent_coef="auto").ent_coef_value.item() == 1
    assert make(ent_coef="auto_0.1").ent_coef_value.item() == pytest.approx(0.1)
    # Entropies below the target raise it, entropies above lower it
    for target, sign in ((100.0, 1), (-100.0, -1)):
        model = make(ent_coef="auto_0.1", target_entropy=target).learn(15)
        assert np.sign(model.ent_coef_value.item() - 0.1) == sign
    fixed = make(ent_coef=0.3).learn(15)
    assert fixed.ent_coef_value.item() == pytest.approx(0.3)


# What a gradient step changes, and what it leaves alone


def trained_with_batch(**arguments: Any) -> tuple[SACARDAE, Any]:
    model = make(**arguments).learn(15)
    assert model.replay_buffer is not None
    return model, model.replay_buffer.sample(32)


@pytest.mark.parametrize("arguments", [{}, {"policy_kwargs": {"share_features_extractor": True}}], ids=str)
def test_each_update_changes_its_own_networks(arguments: dict[str, Any]) -> None:
    model, batch = trained_with_batch(**arguments)
    before = parameters(model)
    states = model.policy.encode_states(batch.observations)
    model._update_score(states, 2)
    after_score = parameters(model)
    assert changed(before, after_score) == {"estimator"}
    model._update_critic(batch)
    after_critic = parameters(model)
    assert changed(after_score, after_critic) == {"critic"}
    own = model.critic.optimizer.param_groups[0]["params"]
    critic_gradients = [(parameter, parameter.grad.clone()) for parameter in own]
    _, log_prob = model._update_actor(states, th.tensor(0.0))
    after_actor = parameters(model)
    assert changed(after_critic, after_actor) == {"actor"}
    assert all(th.equal(p.grad, g) for p, g in critic_gradients), "the actor's update computes none for the critics"
    assert log_prob is not None and log_prob.shape == (32, 1) and not log_prob.requires_grad
    model._update_temperature(log_prob)
    assert changed(after_actor, parameters(model)) == {"ent_coef"}


def test_warm_up_of_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first step of the policy alone, and not again after loading or in a later call."""
    model = make(score_warmup=5, n_score_updates=2)
    n_steps: list[int] = []
    update = model._update_score

    def count(states: EncodedStates, n_updates: int) -> dict[str, th.Tensor]:
        n_steps.append(n_updates)
        return update(states, n_updates)

    monkeypatch.setattr(model, "_update_score", count)
    model.learn(13).learn(12)
    assert n_steps == [5, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(("ent_coef", "n_calls"), [(0.05, 1), ("auto", 2)])
def test_density_is_sampled_where_it_is_needed(
    ent_coef: float | str, n_calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fixed temperature for the targets alone, once a gradient step; what is logged does not depend on it."""
    model = make(log_partition="importance", ent_coef=ent_coef)
    calls: list[Any] = []
    importance = model.estimator._importance

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return importance(*arguments)

    monkeypatch.setattr(model.estimator, "_importance", count)
    model.learn(15, log_interval=1000)
    assert len(calls) == 5 * n_calls
    assert {"train/entropy", "train/ent_coef", "train/actor_loss"} <= model.logger.name_to_value.keys()


def test_features_extractor_is_trained_with_the_actor() -> None:
    env = FakeImageEnv(screen_height=40, screen_width=40, discrete=False)
    model = make(env, "CnnPolicy", policy_kwargs=SMALL_CNN, batch_size=8, buffer_size=50).learn(12)
    assert model.replay_buffer is not None
    batch = model.replay_buffer.sample(8)
    before = parameters(model)
    model._update_actor(model.policy.encode_states(batch.observations), th.tensor(0.0))
    after = parameters(model)
    extractor = [name for name in before if name.startswith("actor.features_extractor") and "weight" in name]
    assert extractor and all(not th.equal(before[name], after[name]) for name in extractor)


# Divergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rewards_that_are_not_finite(value: float) -> None:
    env = OtherReward(gym.make("Pendulum-v1"), value, start=0)
    with pytest.raises(ValueError, match=r"critic_loss is (nan|inf) after \d+ gradient steps: training has diverged"):
        make(env, gradient_steps=3).learn(20)


@pytest.mark.parametrize(
    ("network", "quantity"), [("actor", "score_"), ("critic", "critic_loss"), ("estimator", "score_")]
)
@pytest.mark.parametrize("frame", ["sigma_points", "centre"])
def test_parameters_that_are_not_finite(network: str, quantity: str, frame: str) -> None:
    model = make(policy_kwargs={"frame": frame}).learn(12)
    module: nn.Module = getattr(model, network)
    for parameter in module.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(ValueError, match=rf"{quantity}\w* is nan after 3 gradient steps: training has diver") as error:
        model.train(gradient_steps=1, batch_size=32)
    assert "\n" not in str(error.value)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_head": "scalar"}, "score_head='scalar': accepted are 'gradient', 'vector'"),
        ({"score_loss": "mse"}, "score_loss='mse': accepted are 'cv', 'ardae'"),
        (
            {"log_partition": "exact"},
            "log_partition='exact': accepted are 'contrastive', 'dual', 'importance', 'immse'",
        ),
        (
            {"score_head": "vector"},
            "log_partition='auto' with score_head='vector' gives no log density: accepted with it are "
            "backup_entropy=False and a fixed ent_coef",
        ),
        ({"score_head": "vector", "backup_entropy": False}, "a fixed ent_coef"),
        (
            {"log_partition": None, "ent_coef": 0.1},
            "log_partition=None with score_head='gradient' gives no log density",
        ),
        ({"score_head": "vector", "log_partition": "dual", **NO_DENSITY}, "accepted are 'immse', None"),
        ({"clamp_on": "relu"}, "clamp_on='relu': accepted are 'tanh', 'pre_tanh'"),
        ({"clamp_eta": -0.1}, "clamp_eta=-0.1: accepted are numbers from 0 up"),
        ({"clamp_xi": 0.0}, r"clamp_xi=0\.0: accepted are numbers above 0"),
        ({"n_perturb": 0}, "n_perturb=0"),
        ({"actor_gradient_limit": -1}, "actor_gradient_limit=-1: accepted are numbers from 0 up"),
        ({"n_score_updates": 0}, "n_score_updates=0"),
        ({"score_batch_size": 0}, "score_batch_size=0"),
        ({"n_action_samples": 1}, "n_action_samples=1: accepted are numbers from 2 up"),
        ({"n_importance": 0}, "n_importance=0"),
        ({"score_warmup": -1}, "score_warmup=-1: accepted are numbers from 0 up"),
        ({"ent_coef": "automatic"}, "ent_coef='automatic': accepted are numbers from 0 up, 'auto' and 'auto_<number"),
        ({"ent_coef": "auto_x"}, "ent_coef='auto_x'"),
        ({"ent_coef": "auto_"}, "ent_coef='auto_'"),
        ({"ent_coef": "auto_0"}, "ent_coef='auto_0'"),
        ({"ent_coef": "0.1"}, "ent_coef='0.1'"),
        ({"ent_coef": -0.1}, "ent_coef=-0.1"),
        ({"ent_coef": math.nan}, "ent_coef=nan"),
        ({"target_entropy": "low"}, "target_entropy='low': accepted are 'auto'"),
        ({"policy_kwargs": {"noise_dim": 0}}, "noise_dim=0: accepted are integers from the action dimension 1 up"),
        (
            {"policy_kwargs": {"score_kwargs": {"loss": "ardae"}}},
            r"score_kwargs\['loss'\]='ardae': accepted is score_loss, outside of it",
        ),
        ({"policy_kwargs": {"score_kwargs": {"learning_rate": 1.0}}}, "accepted is score_learning_rate, outside of it"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("env", ["CartPole-v1", IdentityEnv(3)], ids=["id", "environment"])
def test_discrete_actions_are_refused(env: Any) -> None:
    with pytest.raises(ValueError, match=r"action_space=Discrete\(\d\): accepted are Box spaces") as error:
        make(env)
    assert "\n" not in str(error.value)


def test_other_refusals() -> None:
    with pytest.raises(TypeError, match="use_sde"):
        make(use_sde=True)
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        make(SimpleMultiObsEnv(discrete_actions=False), "MlpPolicy")
    with pytest.raises(ValueError, match="Policy OtherPolicy unknown"):
        make(policy="OtherPolicy")
