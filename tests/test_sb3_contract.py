"""What users of Stable-Baselines3 expect: of our SACs in detail, and of every algorithm what trainers must do, too."""

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, IdentityEnv, SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her import HerReplayBuffer
from torch import nn

from ardae_rl import SACARDAE, SACNF, SACGaussian
from ardae_rl.common.critics import CRITICS
from ardae_rl.irl.relabelling import RelabellingReplayBuffer
from ardae_rl.irl.sqil import DemonstrationReplayBuffer
from ardae_rl.registry import OUR_ALGORITHMS
from ardae_rl.sac_nf.flows import FLOWS
from tests.common.every_algorithm import EVERY_ALGORITHM, Algorithm
from tests.common.models import Model, assert_equal_states, assert_same_predictions, changed, parameters, temperature
from tests.sac_ardae import small

Make = Callable[..., Model]

SAC_ARGUMENTS: dict[str, Any] = {
    "batch_size": 16,
    "buffer_size": 500,
    "learning_starts": 10,
    "device": "cpu",
    "seed": 0,
}
SMALL_CNN: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 8}}


def make_sac_nf(env: GymEnv | str = "Pendulum-v1", policy: str = "MlpPolicy", **arguments: Any) -> SACNF:
    """Return a small SACNF; ``policy_kwargs`` are merged with the default ones, other arguments replace defaults."""
    policy_kwargs = {"net_arch": [16], "n_flows": 2} | arguments.pop("policy_kwargs", {})
    return SACNF(policy, env, policy_kwargs=policy_kwargs, **(SAC_ARGUMENTS | arguments))


def make_sac_gaussian(env: GymEnv | str = "Pendulum-v1", policy: str = "MlpPolicy", **arguments: Any) -> SACGaussian:
    """Return a small SACGaussian, as :func:`make_sac_nf`."""
    policy_kwargs = {"net_arch": [16]} | arguments.pop("policy_kwargs", {})
    return SACGaussian(policy, env, policy_kwargs=policy_kwargs, **(SAC_ARGUMENTS | arguments))


def with_critic(make: Make, critic: str) -> Make:
    """Return a function that makes the models with another kind of critics."""

    def make_model(*args: Any, **arguments: Any) -> Model:
        policy_kwargs = {"critic": critic} | arguments.pop("policy_kwargs", {})
        return make(*args, policy_kwargs=policy_kwargs, **arguments)

    return make_model


def remaining_progress(progress: float) -> float:
    """A schedule that compares equal after loading, because it is pickled by name."""
    return progress


MAKERS: dict[str, Make] = {"SACARDAE": small.make, "SACNF": make_sac_nf, "SACGaussian": make_sac_gaussian}
# All critics in all algorithms are slow together; these few are representative
QUICK_CRITICS = ("SACGaussian, crossq",)
WITH_CRITICS: dict[str, Make] = {
    f"{name}, {critic}": with_critic(make_model, critic)
    for name, make_model in MAKERS.items()
    for critic in CRITICS
    if critic != "mlp"
}
ALL_MAKERS = MAKERS | WITH_CRITICS
EVERY_MAKER = [
    *MAKERS,
    *(pytest.param(name, marks=() if name in QUICK_CRITICS else pytest.mark.slow) for name in WITH_CRITICS),
]

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "fixed temperature": {"ent_coef": 0.05},
    "initial temperature": {"ent_coef": "auto_0.1"},
    "target entropy": {"target_entropy": -2},
    "schedule": {"learning_rate": lambda progress: 1e-3 * progress},
    "shared extractor": {"policy_kwargs": {"share_features_extractor": True}},
    "few updates of the target": {"target_update_interval": 3, "gradient_steps": 2, "train_freq": 2},
    "n-step": {"n_steps": 3},
    "memory": {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
}
QUICK_FORMS = [(name, "default") for name in WITH_CRITICS] + [(name, form) for name in QUICK_CRITICS for form in FORMS]
OWN_FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "SACARDAE": {
        "no backup of the entropy": {"backup_entropy": False},
        "calibration": {"target_calibration": True},
        "contrastive": small.score(normalization="contrastive"),
        "dual": small.score(normalization="dual"),
        "importance": small.score(normalization="importance", normalization_kwargs={"n_samples": 10}),
        "immse": {"batch_size": 8} | small.score(normalization="immse"),
        "no density": small.NO_DENSITY | small.score(normalization=None),
        "score": small.NO_DENSITY | small.score(parameterization="score"),
        "score, immse": {"batch_size": 8} | small.score(parameterization="score", normalization="immse"),
        "ardae loss": small.score(loss="ardae"),
        "center": {"policy_kwargs": {"frame": "center"}},
        "more sigma points": {"policy_kwargs": {"frame": "sigma_points", "n_bases": 2}},
        "no output noise": {"policy_kwargs": {"output_noise": 0.0}},
        "no hidden layers": {"policy_kwargs": {"net_arch": []}},
        "no frame": {"policy_kwargs": {"frame": "none"}},
        "distance": {"policy_kwargs": {"entropy": "distance"}},
        "distance, output noise": {"policy_kwargs": {"entropy": "distance", "output_noise": 0.1, "critic": "crossq"}},
        "paper": {
            "policy_kwargs": {"frame": "center"} | small.score(loss="ardae", preconditioned=False)["policy_kwargs"],
            "ent_coef": 0.05,
        },
        "no clamping": {"clamping_kwargs": {"eta": 0}},
        "clamping": {
            "clamping_kwargs": {"eta": 0.1, "output": "pre_tanh", "n_perturbations": 3, "nu": 1.3, "max_weight": 10}
        },
        "no gradient limit": {"actor_gradient_limit": 0},
        "schedules": {"learning_rate": lambda progress: 1e-3 * progress}
        | small.score(learning_rate=remaining_progress),
    },
    "SACNF": {
        **{f"{flow}": {"policy_kwargs": {"flow": flow}} for flow in FLOWS},
        **{f"{flow}, fixed temperature": {"policy_kwargs": {"flow": flow}, "ent_coef": 0.1} for flow in FLOWS},
        "one deviation": {"policy_kwargs": {"state_dependent_std": False}},
    },
    "SACGaussian": {},
}
# What is saved in addition to SB3's own state, and for which arguments
OWN_STATES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("SACARDAE", {}, ["estimator.optimizer", "limit_actor_gradient"]),
    ("SACARDAE", {"target_calibration": True}, ["estimator.optimizer", "limit_actor_gradient", "calibration"]),
    ("SACNF", {}, []),
    ("SACGaussian, crossq", {}, []),
]
OWN_METRICS: dict[str, set[str]] = {"SACARDAE": {"train/entropy", "train/target_q", "train/score_loss"}}


@pytest.fixture(params=EVERY_MAKER)
def make(request: pytest.FixtureRequest) -> Make:
    """Return a function that makes small models of one algorithm."""
    return ALL_MAKERS[request.param]


def critic_names(model: Model) -> set[str]:
    """Return the names of the policy's critics and, if there are any, target critics."""
    return {"critic", "critic_target"} if model.policy.critics.has_targets else {"critic"}


def assert_trained(before: dict[str, th.Tensor], model: Model) -> None:
    """Check that every parameter of actor and critics has changed, and is finite."""
    after = parameters(model)
    trained = [name for name, _ in model.policy.named_parameters() if not name.startswith("estimator.")]
    assert {name.split(".")[0] for name in trained} == {"actor", *critic_names(model)}
    assert [name for name in trained if th.equal(before[name], after[name])] == []
    assert all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in after.values())


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        pytest.param(name, arguments, id=f"{name}, {form}")
        for name in MAKERS
        for form, arguments in (FORMS | OWN_FORMS[name]).items()
    ]
    + [
        pytest.param(
            name, arguments, id=f"{name}, {form}", marks=() if (name, form) in QUICK_FORMS else pytest.mark.slow
        )
        for name in WITH_CRITICS
        for form, arguments in FORMS.items()
    ],
    indirect=["make"],
)
def test_train_save_load_continue(make: Make, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Everything is restored, including the optimizers: training continues as if it had not been interrupted."""
    model = make(**arguments).learn(20)
    assert model._n_updates == 10
    assert_trained(parameters(make(**arguments)), model)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = type(model).load(tmp_path / "model.zip", env=gym.make("Pendulum-v1"), device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert_equal_states(model.get_parameters(), loaded.get_parameters())
    assert_same_predictions(model, loaded)
    assert temperature(loaded) == temperature(model)
    for name in ("target_entropy", "_n_updates", "num_timesteps", "policy_kwargs"):
        assert getattr(loaded, name) == getattr(model, name), name
    loaded.set_logger(model.logger)
    for continued in (model, loaded):
        th.manual_seed(1)
        np.random.seed(1)
        continued.train(gradient_steps=3, batch_size=8)
    assert loaded._n_updates == 13
    assert_equal_states(model.get_parameters(), loaded.get_parameters())
    assert_equal_states(parameters(model), parameters(loaded))
    assert_same_predictions(model, loaded)
    loaded.learn(5, reset_num_timesteps=False)
    assert loaded.num_timesteps >= 25


@pytest.mark.parametrize(("make", "arguments", "own"), OWN_STATES, indirect=["make"], ids=str)
def test_what_is_saved(make: Make, arguments: dict[str, Any], own: list[str], tmp_path: Path) -> None:
    """The named states are all that set_parameters requires: nothing else is trained."""
    expected = {"policy", "actor.optimizer", "critic.optimizer", *own}
    assert make(ent_coef=0.1, **arguments).get_parameters().keys() == expected
    model = make(**arguments).learn(15)
    assert model.get_parameters().keys() == expected | {"ent_coef_optimizer"}
    model.save(tmp_path / "model.zip")
    data, state, variables = load_from_zip_file(tmp_path / "model.zip", device="cpu")
    assert data is not None and state is not None and variables is not None
    assert not any(isinstance(value, nn.Module) for value in data.values()), "modules are saved once, as state dicts"
    assert state.keys() == model.get_parameters().keys() and variables.keys() == {"log_ent_coef"}


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        ("SACARDAE", {"target_calibration": True}),
        ("SACNF", {"policy_kwargs": {"flow": "coupling"}}),
        *[(name, {}) for name in WITH_CRITICS],
    ],
    indirect=["make"],
    ids=str,
)
def test_parameters_can_be_set(make: Make, arguments: dict[str, Any]) -> None:
    model, other = make(**arguments).learn(15), make(**arguments, seed=1)
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
    for name in saved:
        without = {other_name: state for other_name, state in saved.items() if other_name != name}
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            model.set_parameters(without, exact_match=True)


def test_loaded_without_an_environment(make: Make, tmp_path: Path) -> None:
    model = make().learn(15)
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=None, device="cpu")
    assert_same_predictions(model, loaded)
    evaluate_policy(loaded, make_vec_env("Pendulum-v1"), n_eval_episodes=1)
    loaded.set_env(gym.make("Pendulum-v1"))
    loaded.learn(15)


def test_loaded_with_other_arguments(make: Make, tmp_path: Path) -> None:
    """Given arguments replace the saved ones; other ``policy_kwargs`` are refused."""
    model = make(tau=0.25)
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", gamma=0.5)
    assert loaded.gamma == 0.5 and loaded.tau == 0.25
    with pytest.raises(ValueError, match="policy kwargs do not equal"):
        type(model).load(tmp_path / "model.zip", policy_kwargs={"net_arch": [9]})


@pytest.mark.parametrize(
    ("algorithm", "arguments"),
    [(SACARDAE, small.ARGUMENTS), (SACNF, SAC_ARGUMENTS), (SACGaussian, SAC_ARGUMENTS)],
    ids=MAKERS,
)
def test_policy_kwargs_are_as_given(algorithm: type[Model], arguments: dict[str, Any], tmp_path: Path) -> None:
    """The caller's dictionaries are not modified, and they are saved as they were given."""
    given: dict[str, Any] = {"net_arch": [16, 16]}
    model = algorithm("MlpPolicy", "Pendulum-v1", policy_kwargs=given, **arguments)
    assert given == {"net_arch": [16, 16]}, "the caller's"
    assert model.policy_kwargs == given
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", policy_kwargs={"net_arch": [16, 16]})
    assert_same_predictions(model, loaded)


def test_compiled_policy(make: Make, tmp_path: Path) -> None:
    model = make()
    model.policy = th.compile(model.policy, backend="eager")  # type: ignore[assignment]
    model.learn(15)
    model.save(tmp_path / "model.zip")
    loaded = type(model).load(tmp_path / "model.zip", env=gym.make("Pendulum-v1"), device="cpu")
    assert_same_predictions(model, loaded)
    loaded.learn(15)


def test_deterministic_actions_are_functions_of_the_observation(make: Make) -> None:
    """Each action depends on its own observation only, not on the batch or the state of the random generators."""
    model = make()
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    first = model.predict(observations, deterministic=True)[0]
    assert np.array_equal(first, model.predict(observations, deterministic=True)[0])
    one_by_one = [model.predict(observation, deterministic=True)[0] for observation in observations]
    np.testing.assert_allclose(one_by_one, first, rtol=0, atol=1e-5)
    assert not np.array_equal(model.predict(observations)[0], model.predict(observations)[0])


class OtherReward(gym.RewardWrapper[Any, Any]):
    """Replaces the reward from the n-th step on."""

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


def images() -> FakeImageEnv:
    return FakeImageEnv(screen_height=40, screen_width=40, discrete=False)


ENVIRONMENTS: dict[str, tuple[Callable[[], GymEnv], str, dict[str, Any]]] = {
    "float64": (
        lambda: BoxEnv(spaces.Box(-2.0, 3.0, (2,), np.float64), spaces.Box(-1, 1, (2,), np.float64)),
        "MlpPolicy",
        {},
    ),
    "matrix of actions": (lambda: BoxEnv(spaces.Box(-1, 1, (2, 2))), "MlpPolicy", {}),
    "discrete observations": (lambda: BoxEnv(spaces.Box(-1, 1, (1,)), spaces.Discrete(3)), "MlpPolicy", {}),
    "images": (images, "CnnPolicy", SMALL_CNN),
    "images, shared extractor": (images, "CnnPolicy", SMALL_CNN | {"share_features_extractor": True}),
    "dictionary": (lambda: SimpleMultiObsEnv(discrete_actions=False), "MultiInputPolicy", {}),
    "two": (lambda: make_vec_env("Pendulum-v1", 2), "MlpPolicy", {}),
    "normalized": (lambda: VecNormalize(make_vec_env("Pendulum-v1", 1)), "MlpPolicy", {}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(make: Make, name: str, tmp_path: Path) -> None:
    """Training works, actions and densities have the right shapes, and model and policy are restored after saving."""
    env, policy, policy_kwargs = ENVIRONMENTS[name]
    arguments = {"policy_kwargs": policy_kwargs, "batch_size": 8, "buffer_size": 100}
    model = make(env(), policy, **arguments).learn(16)
    assert model._n_updates == 6 // model.n_envs
    assert_trained(parameters(make(env(), policy, **arguments)), model)
    vec_env = model.get_env()
    assert vec_env is not None
    observation: Any = vec_env.reset()
    action, _ = model.predict(observation)
    assert model.action_space.contains(action[0].astype(model.action_space.dtype))
    obs, _ = model.policy.obs_to_tensor(observation)
    n = model.n_envs
    assert model.policy.log_prob(obs, th.as_tensor(action)).shape == model.policy.entropy(obs).shape == (n,)
    assert model.critic(obs, model.actor(obs))[0].shape == (n, 1)
    model.save(tmp_path / "model.zip")
    assert_same_predictions(model, type(model).load(tmp_path / "model.zip", env=env(), device="cpu"))
    assert type(model.policy) is model.policy_aliases[policy]
    model.policy.save(str(tmp_path / "policy"))
    assert_same_predictions(model, type(model.policy).load(str(tmp_path / "policy"), device="cpu"))


def test_hindsight_experience_replay(make: Make, tmp_path: Path) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True)
    model = make(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer, batch_size=8, learning_starts=20)
    model.learn(40)
    assert model._n_updates == 20
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = type(model).load(tmp_path / "model.zip", env=env, device="cpu")
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert_same_predictions(model, loaded)
    loaded.learn(10, reset_num_timesteps=False)


def test_normalized_environment(make: Make) -> None:
    """The replay buffer holds the original data; the networks receive the data that VecNormalize has normalized."""
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0))
    model = make(env).learn(60)
    assert model.replay_buffer is not None and model.get_vec_normalize_env() is env
    assert model.replay_buffer.rewards.min() < -1 and model._n_updates > 0
    evaluate_policy(model, env, n_eval_episodes=1)


class BatchNormExtractor(FlattenExtractor):
    """Normalizes observations by the batch, and drops some of them."""

    def __init__(self, observation_space: spaces.Space[Any]) -> None:
        super().__init__(observation_space)
        self.normalize = nn.Sequential(nn.BatchNorm1d(self.features_dim), nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features: th.Tensor = self.normalize(super().forward(observations))
        return features


def test_features_that_depend_on_the_mode(make: Make) -> None:
    """Batch normalization learns its statistics during training, and outside of it actions are reproducible."""
    model = make(policy_kwargs={"features_extractor_class": BatchNormExtractor})
    before = parameters(model)
    model.learn(30)
    names = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert {name.split(".")[0] for name in names} == {"actor", *critic_names(model)}
    assert [name for name in names if th.equal(before[name], parameters(model)[name])] == []
    obs = model.observation_space.sample()
    first, second = (model.predict(obs, deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


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
def test_training_frequency(make: Make, n_envs: int, arguments: dict[str, Any], n_updates: int) -> None:
    """30 steps, the first 10 of them without training."""
    env = make_vec_env(lambda: BoxEnv(spaces.Box(-1, 1, (2,))), n_envs=n_envs)
    model = make(env, batch_size=8, **arguments).learn(30)
    assert model._n_updates == n_updates
    assert model.logger.name_to_value["train/n_updates"] == n_updates


@pytest.mark.parametrize("n_envs", [1, 2])
@pytest.mark.parametrize("noise", [NormalActionNoise, OrnsteinUhlenbeckActionNoise])
def test_action_noise(make: Make, noise: type[NormalActionNoise], n_envs: int) -> None:
    env = make_vec_env("Pendulum-v1", n_envs=n_envs)
    model = make(env, action_noise=noise(np.zeros(1), 0.1 * np.ones(1))).learn(20)
    assert model.replay_buffer is not None
    actions = model.replay_buffer.actions[: model.replay_buffer.pos]
    assert np.abs(actions).max() <= 1


def test_callbacks_and_tensorboard(make: Make, tmp_path: Path) -> None:
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
    algorithm = type(model)
    algorithm.load(tmp_path / "best" / "best_model.zip", device="cpu")
    assert list((tmp_path / f"{algorithm.__name__}_1").glob("events.out.tfevents.*"))
    names = "n_updates learning_rate ent_coef ent_coef_loss actor_loss critic_loss"
    assert {f"train/{name}" for name in names.split()} | OWN_METRICS.get(algorithm.__name__, set()) <= logged


def test_seeds(make: Make) -> None:
    models = [make(seed=seed).learn(30) for seed in (0, 0, 1)]
    states = [parameters(model) for model in models]
    assert changed(states[0], states[1]) == set()
    everything = {name.split(".")[0] for name in states[0]}
    assert everything >= {"actor", "ent_coef", *critic_names(models[0])}
    assert changed(states[0], states[2]) == everything


def test_learning_rate_schedules(make: Make) -> None:
    model = make(learning_rate=lambda progress: 1e-3 * progress).learn(15)
    model._current_progress_remaining = 0.25
    model.train(gradient_steps=1, batch_size=8)
    assert model.ent_coef_optimizer is not None
    for optimizer in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer):
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(1e-3 / 4 * group.get("lr_scale", 1))


def test_temperature(make: Make) -> None:
    assert temperature(make(ent_coef=0.3)).item() == pytest.approx(0.3)
    assert temperature(make(ent_coef="auto")).item() == 1
    assert temperature(make(ent_coef="auto_0.1")).item() == pytest.approx(0.1)
    # An entropy below the target raises the temperature, one above lowers it
    for target, sign in ((100.0, 1), (-100.0, -1)):
        model = make(ent_coef="auto_0.1", target_entropy=target).learn(15)
        assert np.sign(temperature(model).item() - 0.1) == sign
    assert temperature(make(ent_coef=0.3).learn(15)).item() == pytest.approx(0.3)


# Divergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_rewards_that_are_not_finite(make: Make, value: float) -> None:
    env = OtherReward(gym.make("Pendulum-v1"), value, start=0)
    with pytest.raises(ValueError, match=r"critic_loss is (nan|inf) after \d+ gradient steps: training has diverged"):
        make(env, gradient_steps=3).learn(20)


@pytest.mark.parametrize(
    ("make", "policy_kwargs", "network", "quantity"),
    [
        *[
            ("SACARDAE", {"frame": frame}, *broken)
            for frame in ("sigma_points", "center")
            for broken in (("actor", r"score_\w+"), ("critic", "critic_loss"), ("estimator", r"score_\w+"))
        ],
        *[("SACNF", {"flow": flow}, network, "critic_loss") for flow in FLOWS for network in ("actor", "critic")],
    ],
    indirect=["make"],
    ids=str,
)
def test_parameters_that_are_not_finite(make: Make, policy_kwargs: dict[str, Any], network: str, quantity: str) -> None:
    model = make(policy_kwargs=policy_kwargs).learn(12)
    module: nn.Module = getattr(model, network)
    for parameter in module.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(ValueError, match=rf"{quantity} is nan after 3 gradient steps: training has diverged") as error:
        model.train(gradient_steps=1, batch_size=model.batch_size)
    assert "\n" not in str(error.value)


# Errors


@pytest.mark.parametrize("env", ["CartPole-v1", IdentityEnv(3)], ids=["id", "environment"])
def test_discrete_actions_are_refused(make: Make, env: Any) -> None:
    with pytest.raises(ValueError, match=r"`action_space` must be a Box .*, got Discrete\(\d\)") as error:
        make(env)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"ent_coef": "automatic"},
            "`ent_coef` must be a number >= 0, 'auto' or 'auto_<positive number>', got 'automatic'",
        ),
        ({"ent_coef": "auto_x"}, "`ent_coef` must be .*, got 'auto_x'"),
        ({"ent_coef": "auto_"}, "`ent_coef` must be .*, got 'auto_'"),
        ({"ent_coef": "auto_0"}, "`ent_coef` must be .*, got 'auto_0'"),
        ({"ent_coef": "0.1"}, "`ent_coef` must be .*, got '0.1'"),
        ({"ent_coef": -0.1}, "`ent_coef` must be .*, got -0.1"),
        ({"ent_coef": math.nan}, "`ent_coef` must be .*, got nan"),
        ({"ent_coef": []}, r"`ent_coef` must be .*, got \[\]"),
        ({"target_entropy": "low"}, "`target_entropy` must be one of 'auto', got 'low'"),
        ({"target_entropy": None}, "`target_entropy` must be a number, got None"),
        ({"target_entropy": math.inf}, "`target_entropy` must be finite, got inf"),
        ({"batch_size": 0}, "`batch_size` must be >= 1, got 0"),
        ({"batch_size": math.nan}, "`batch_size` must be a number, got nan"),
        ({"buffer_size": 0}, "`buffer_size` must be >= 1, got 0"),
        ({"n_steps": 0}, "`n_steps` must be >= 1, got 0"),
        ({"n_steps": 1.5}, "`n_steps` must be an integer, got 1.5"),
        ({"n_steps": "3"}, "`n_steps` must be a number, got '3'"),
        ({"target_update_interval": 0}, "`target_update_interval` must be >= 1, got 0"),
        ({"policy_kwargs": {"n_critics": 0}}, "`n_critics` must be >= 1, got 0"),
        ({"policy_kwargs": {"net_arch": [8, 0]}}, "`net_arch` must be >= 1, got 0"),
        ({"policy_kwargs": {"net_arch": {"pi": [8], "qf": ["8"]}}}, "`net_arch` must be a number, got '8'"),
        ({"policy_kwargs": {"activation_fn": "rleu"}}, "`activation_fn` must be one of 'elu', .*, got 'rleu'"),
        ({"policy_kwargs": {"actor_activation_fn": "x"}}, "`actor_activation_fn` must be one of 'elu', .*, got 'x'"),
        ({"tau": 1.5}, "`tau` must be between 0 and 1, got 1.5"),
        ({"gamma": -0.1}, "`gamma` must be between 0 and 1, got -0.1"),
    ],
    ids=str,
)
def test_bad_arguments(make: Make, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as error:
        make(**arguments)
    assert "\n" not in str(error.value)


def test_activation_functions_go_by_name(make: Make) -> None:
    policy = make(policy_kwargs={"net_arch": [8], "activation_fn": "silu", "actor_activation_fn": "tanh"}).policy
    kinds = [{type(module) for module in network.modules()} for network in (policy.actor, policy.critic)]
    assert nn.Tanh in kinds[0] and nn.SiLU not in kinds[0]
    assert nn.SiLU in kinds[1] and nn.Tanh not in kinds[1]


def test_no_gradient_steps(make: Make) -> None:
    model = make().learn(12)
    before = parameters(model)
    model.train(gradient_steps=0, batch_size=8)
    assert not changed(before, parameters(model))


# SACARDAE has no such argument; SACNF has all arguments of SB3's SAC
@pytest.mark.parametrize(("make", "error"), [("SACARDAE", TypeError), ("SACNF", ValueError)], indirect=["make"])
def test_state_dependent_exploration_is_refused(make: Make, error: type[Exception]) -> None:
    with pytest.raises(error, match="use_sde"):
        make(use_sde=True)


def test_other_refusals(make: Make) -> None:
    with pytest.raises(ValueError, match="MultiInputPolicy"):
        make(SimpleMultiObsEnv(discrete_actions=False), "MlpPolicy")
    with pytest.raises(ValueError, match="Policy OtherPolicy unknown"):
        make(policy="OtherPolicy")


# Every algorithm, trainers included


@pytest.fixture(params=EVERY_ALGORITHM)
def algorithm_name(request: pytest.FixtureRequest) -> str:
    """Return the name of one of all algorithms."""
    name: str = request.param
    return name


@pytest.fixture
def every(algorithm_name: str) -> Algorithm:
    """Return each of all algorithms."""
    return EVERY_ALGORITHM[algorithm_name]


STEPS = 20  # enough for gradient steps, and for a round of a discriminator


def networks(model: Any) -> list[th.Tensor]:
    """Return copies of all parameters that training changes."""
    modules = [model.policy] + ([model.reward_net] if hasattr(model, "reward_net") else [])
    return [parameter.detach().clone() for module in modules for parameter in module.parameters()]


def are_equal(one: list[th.Tensor], other: list[th.Tensor]) -> bool:
    return all(th.equal(a, b) for a, b in zip(one, other, strict=True))


def given_again(every: Algorithm) -> dict[str, Any]:
    """Return what is not saved, so that loading a model to train it on needs it again."""
    return {name: every.arguments[name] for name in ("demonstrations",) if name in every.arguments}


def assert_same_actions(one: Any, other: Any) -> None:
    observation = one.get_env().reset()
    actions, others = (model.predict(observation, deterministic=True)[0] for model in (one, other))
    assert np.array_equal(actions, others)


def test_every_algorithm_is_here() -> None:
    assert {algorithm.cls for algorithm in EVERY_ALGORITHM.values()} == {
        algorithm.load() for algorithm in OUR_ALGORITHMS.values()
    }


def test_load_with_and_without_arguments(every: Algorithm, tmp_path: Path) -> None:
    """A loaded model acts without an environment, takes SB3's arguments, and learns in an environment."""
    model = every.make().learn(STEPS)
    model.save(tmp_path / "model.zip")
    assert_same_actions(model, every.cls.load(tmp_path / "model.zip", device="cpu"))
    arguments = {"seed": 3, "verbose": 1, "tensorboard_log": str(tmp_path)}
    loaded = every.cls.load(tmp_path / "model.zip", every.make_env(), "cpu", **given_again(every), **arguments)
    assert {name: getattr(loaded, name) for name in arguments} == arguments
    assert loaded.num_timesteps == model.num_timesteps
    before = networks(loaded)
    assert are_equal(before, networks(model))
    loaded.verbose = 0
    loaded.learn(STEPS, reset_num_timesteps=False)
    assert loaded.num_timesteps > model.num_timesteps and not are_equal(before, networks(loaded))


@pytest.mark.parametrize("reset", [True, False])
def test_set_env(every: Algorithm, reset: bool) -> None:
    """Training goes on in another environment, or in the middle of an episode of this one."""
    model = every.make().learn(STEPS)
    before = networks(model)
    model.set_env(every.make_env() if reset else model.get_env(), force_reset=reset)
    model.learn(STEPS, reset_num_timesteps=reset)
    assert not are_equal(before, networks(model))


def test_copy(algorithm_name: str, every: Algorithm) -> None:
    """A copy learns on its own, and leaves the original as it is."""
    if algorithm_name == "E2C":
        pytest.skip("SB3's VecTransposeImage cannot be copied")
    model = every.make().learn(STEPS)
    copied = copy.deepcopy(model)
    before = networks(model)
    assert are_equal(before, networks(copied))
    copied.learn(STEPS, reset_num_timesteps=False)
    assert are_equal(before, networks(model)) and not are_equal(before, networks(copied))
    del model
    assert_same_actions(copied, copied.policy)


def test_copy_of_a_compiled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th, "compile", lambda function, **_: lambda *args, **kwargs: function(*args, **kwargs))
    model = small.make(compile=True).learn(15)
    before = networks(model)
    copied = copy.deepcopy(model).learn(5, reset_num_timesteps=False)
    assert are_equal(before, networks(model)) and not are_equal(before, networks(copied))
    pickle.dumps(model.policy)


def test_pickled_policy(every: Algorithm) -> None:
    model = every.make().learn(STEPS)
    assert_same_actions(model, pickle.loads(pickle.dumps(model.policy)))


def test_checkpoints(algorithm_name: str, every: Algorithm, tmp_path: Path) -> None:
    """Checkpoints of all kinds are written and loaded; a zip has neither stored steps nor demonstrations."""
    model = every.make()
    model.learn(STEPS, CheckpointCallback(5, str(tmp_path), save_replay_buffer=True, save_vecnormalize=True))
    steps = max(int(path.stem.split("_")[2]) for path in tmp_path.glob("rl_model_*_steps.zip"))
    loaded = every.cls.load(tmp_path / f"rl_model_{steps}_steps.zip", every.make_env(), "cpu", **given_again(every))
    buffer = tmp_path / f"rl_model_replay_buffer_{steps}_steps.pkl"
    assert buffer.exists() == (algorithm_name not in WITHOUT_REPLAY)
    if buffer.exists():
        loaded.load_replay_buffer(buffer, truncate_last_traj=True)  # as RL Zoo does
        assert loaded.replay_buffer.size() == steps - 1  # callbacks are called before a step is stored
        loaded.learn(STEPS, reset_num_timesteps=False)
    data = load_from_zip_file(tmp_path / f"rl_model_{steps}_steps.zip", device="cpu")[0]
    assert data is not None and not {"demonstrations", "replay_buffer", "_demos", "_rollout"} & data.keys()


WITHOUT_REPLAY = ("AIRL, on-policy", "BC", "WorldModels")
REFUSE_NORMALIZATION = {
    "AIRL": "`env` must not contain a VecNormalize",
    "AIRL, on-policy": "`env` must not contain a VecNormalize",
    "GAIL": "`env` must not contain a VecNormalize",
    "GANGCL": "`env` must not contain a VecNormalize",
    "BC": "`env` must not contain a VecNormalize",
    "E2C": "`observation_space` must consist of uint8 images",
    "WorldModels": "`env` must not have a vector wrapper, which cannot be re-created, got VecNormalize",
}


def test_normalization_is_used_or_refused(algorithm_name: str, every: Algorithm, tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env(every.make_env, 2))
    if algorithm_name in REFUSE_NORMALIZATION:
        with pytest.raises(ValueError, match=REFUSE_NORMALIZATION[algorithm_name]):
            every.make(env)
        return
    model = every.make(env).learn(2 * STEPS, CheckpointCallback(10, str(tmp_path), save_vecnormalize=True))
    assert model.get_vec_normalize_env() is env
    assert list(tmp_path.glob("rl_model_vecnormalize_*_steps.pkl"))
    stored = model.replay_buffer.observations[: model.replay_buffer.pos]
    assert set(stored[..., 0].flatten()) == {0, 1, 2, 3, 4}  # the numbers of the steps, as they were before
    if algorithm_name == "DVBF":
        assert abs(float(model.policy.obs_mean[0])) < 1  # the model is fitted to what the planner will get


def test_several_environments(every: Algorithm) -> None:
    model = every.make(make_vec_env(every.make_env, 3))
    before = networks(model)
    model.learn(3 * STEPS)
    assert not are_equal(before, networks(model))
    assert len(model.predict(model.get_env().reset())[0]) == 3
    with pytest.raises(AssertionError, match="number of environments"):
        model.set_env(every.make_env())


@pytest.mark.parametrize("make", MAKERS, indirect=True)
def test_policy_kwargs_that_sb3_has_had(make: Make) -> None:
    """SB3's SAC adds to the dictionary that it is given, which may be given to us then."""
    given: dict[str, Any] = {"net_arch": [8]}
    SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=given)
    assert given.keys() == {"net_arch", "use_sde"}
    make(policy_kwargs=given)


@pytest.mark.parametrize("make", MAKERS, indirect=True)
@pytest.mark.parametrize("buffer", [RelabellingReplayBuffer, DemonstrationReplayBuffer, ReplayBuffer])
def test_returns_of_several_steps_need_their_buffer(make: Make, buffer: type[ReplayBuffer]) -> None:
    with pytest.warns(UserWarning, match=f"`n_steps=3` is ignored .*`{buffer.__name__}`"):
        make(n_steps=3, replay_buffer_class=buffer)
    arguments: dict[str, Any] = {"replay_buffer_kwargs": {"n_steps": 3, "gamma": 0.99}}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "`n_steps=3` is ignored")  # it is not
        model = make(n_steps=3, replay_buffer_class=NStepReplayBuffer, **arguments).learn(12)
    assert model.replay_buffer is not None
    assert model.replay_buffer.sample(4).discounts is not None
