"""The implicit actor and its policy: sampling, densities, saving without the algorithm."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.envs import FakeImageEnv, SimpleMultiObsEnv
from torch import nn

from ardae_rl import SACARDAE
from ardae_rl.sac_ardae import CnnPolicy, MlpPolicy, MultiInputPolicy
from ardae_rl.sac_ardae.density import EncodedStates, pre_tanh_log_prob, pre_tanh_score
from ardae_rl.score import IMMSE
from tests.common.models import assert_same_predictions
from tests.sac_ardae.small import POLICY_KWARGS, SCORE_KWARGS, make

OBSERVATIONS = spaces.Box(-1, 1, (3,))
ACTIONS = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))


def policy(**arguments: Any) -> MlpPolicy:
    th.manual_seed(arguments.pop("seed", 0))
    return MlpPolicy(OBSERVATIONS, ACTIONS, lambda _: 1e-3, **(POLICY_KWARGS | arguments))


def widths(module: nn.Module) -> list[int]:
    return [layer.in_features for layer in module.modules() if isinstance(layer, nn.Linear)]


@pytest.mark.parametrize("generator_arch", [None, [10, 9]])
@pytest.mark.parametrize("location_path", [True, False])
@pytest.mark.parametrize("n_encoder_layers", [0, 1, 2])
def test_shapes_of_the_actor(n_encoder_layers: int, location_path: bool, generator_arch: list[int] | None) -> None:
    """With a location path of full width, the generator has a quarter of the width."""
    layers = {"n_encoder_layers": n_encoder_layers, "location_path": location_path, "generator_arch": generator_arch}
    actor = policy(net_arch=[8, 12, 16], noise_dim=5, **layers).actor
    assert widths(actor.encoder) == [3, 8, 12][:n_encoder_layers]
    full = [8, 12, 16][n_encoder_layers:]
    if location_path:
        assert widths(actor.location) == full
    assert widths(actor.generator) == (generator_arch or ([n // 4 for n in full] if location_path else full))
    width = widths(actor.generator)[0]  # of the generator's first hidden layer, whose shift and gain the state sets
    assert actor.state_layer.out_features == 2 * width + (full[0] if location_path else 0)
    embedding = actor.encode(th.randn(4, 3))
    assert len(embedding) == 4
    noise = actor.sample_noise(embedding, 7)
    assert noise.shape == (4, 7, 5)
    assert actor.generate(embedding, noise).shape == (4, 7, 2)
    assert actor.center(embedding).shape == (4, 1, 2)
    assert actor(th.randn(4, 3)).shape == (4, 2)


def test_moments_without_a_closed_form_warn() -> None:
    with pytest.warns(UserWarning, match="no closed form"):
        policy(generator_arch=[8, 8], frame="moments")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy(generator_arch=[8], frame="moments")
        policy(generator_arch=[8, 8], frame="sigma_points")
        make(policy_kwargs={"entropy": "distance", "generator_arch": [8, 8]})  # has no estimated entropy


def test_encoding_states_once_equals_encoding_for_each_sample() -> None:
    actor = policy().actor
    features = th.randn(4, 3)
    noise = th.randn(4, 7, actor.noise_dim)
    together = actor.generate(actor.encode(features), noise)
    repeated = actor.encode(features.repeat_interleave(7, dim=0))
    apart = actor.generate(repeated, noise.flatten(0, 1).unsqueeze(1))
    th.testing.assert_close(together, apart.view(4, 7, 2))


@pytest.mark.parametrize(("action_dim", "expected"), [(1, 10), (6, 10), (8, 12)])
def test_default_noise_dim(action_dim: int, expected: int) -> None:
    model = MlpPolicy(OBSERVATIONS, spaces.Box(-1, 1, (action_dim,)), lambda _: 1e-3, **POLICY_KWARGS)
    assert model.actor.noise_dim == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_dim": 1}, "`noise_dim` must be >= 2, the action dimension, got 1"),
        (
            {"n_encoder_layers": 2},
            r"`n_encoder_layers` must be between 0 and 1, to leave a layer of \[16, 16\] for the noise, got 2",
        ),
        ({"n_encoder_layers": -1}, "`n_encoder_layers` must be >= 0, got -1"),
        ({"n_encoder_layers": 1.0}, r"`n_encoder_layers` must be an integer, got 1\.0"),
        ({"noise_dim": 1.5}, r"`noise_dim` must be an integer, got 1\.5"),
        ({"noise_dim": "8"}, "`noise_dim` must be a number, got '8'"),
        ({"generator_arch": []}, r"`generator_arch` must have at least one width, got \[\]"),
        ({"generator_arch": [0]}, "`generator_arch` must be >= 1, got 0"),
        ({"output_noise": math.inf}, "`output_noise` must be finite, got inf"),
        ({"n_bases": 0}, "`n_bases` must be >= 1, got 0"),
        ({"frame": "sigma"}, "`frame` must be one of 'moments', 'sigma_points', 'center', 'none', got 'sigma'"),
        ({"output_noise": -0.1}, "`output_noise` must be >= 0, got -0.1"),
        ({"output_noise": 0.3, "frame": "center"}, "`output_noise` must be 0 with frame='center', got 0.3"),
        (
            {"output_noise": 0.0, "score_kwargs": {"loss": "own_noise"}},
            "`output_noise` must be positive with loss='own_noise', got 0",
        ),
        (
            {"score_kwargs": {"noise_kwargs": {"scale": 0.1}}},
            r"`noise_kwargs\['scale'\]` must be 0.3, the `output_noise`, got 0.1",
        ),
        (
            {"score_kwargs": {"loss": "own_noise", "standardize": True}},
            "`standardize` must be False with loss='own_noise'",
        ),
        ({"score_kwargs": {"parameterization": "x"}}, "`parameterization` must be one of 'energy', 'score', got 'x'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as error:
        policy(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("normalization", ["immse", IMMSE()])
def test_immse_takes_no_fixed_noise(normalization: str | IMMSE) -> None:
    """The loss of the output noise needs noise of a fixed scale, which this normalizer does not support."""
    model = policy(score_kwargs={"normalization": normalization})
    assert model.actor.output_noise > 0
    assert (model.estimator.loss, model.estimator.noise.distribution) == ("cv", "normal")


@pytest.mark.parametrize("frame", ["center", "none"])
def test_deterministic_is_the_center_without_a_whitening_frame(frame: str) -> None:
    model = policy(frame=frame)
    obs = th.randn(4, 3)
    expected = th.tanh(model.actor.center(model.actor.encode(obs)).squeeze(1))
    th.testing.assert_close(model(obs, deterministic=True), expected)


def test_deterministic_and_stochastic_actions() -> None:
    """Deterministic actions do not depend on the random generators, stochastic ones on nothing but their seed."""
    model = policy()
    obs = th.randn(4, 3)
    low, high = th.as_tensor(ACTIONS.low), th.as_tensor(ACTIONS.high)
    in_range = low + (model(obs, deterministic=True) + 1) / 2 * (high - low)
    for seed in (1, 2):
        th.manual_seed(seed)
        np.testing.assert_allclose(model.predict(obs.numpy(), deterministic=True)[0], in_range, atol=1e-6)
        np.testing.assert_array_equal(
            model.actor.predict(obs.numpy(), deterministic=True)[0], model.predict(obs.numpy(), deterministic=True)[0]
        )
    sampled = []
    for seed in (1, 1, 2):
        th.manual_seed(seed)
        sampled.append(model.predict(obs.numpy())[0])
    assert np.array_equal(sampled[0], sampled[1]) and not np.isclose(sampled[0], sampled[2]).any()
    assert all(ACTIONS.contains(action) for action in sampled[0])


def test_deterministic_action_of_one_mode_and_of_two() -> None:
    """The exact mean of a single mode, one of two distant modes, and neither time g(0, s)."""
    model = policy(net_arch=[16], generator_arch=[2], location_path=False, generator_activation_fn=nn.Tanh)
    obs, actor = th.zeros(1, 3), model.actor
    output_layer = actor.generator[-1]
    assert isinstance(output_layer, nn.Linear)
    with th.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        output_layer.bias.copy_(th.tensor([0.5, -0.3]))
        # A skewed distribution: tanh of a unit that is not centered
        actor.noise_layer.weight[:, :2] = 0.5 * th.eye(2)
        actor.state_layer.bias[:2] = 0.8
        output_layer.weight.copy_(th.eye(2))
        samples = actor.generate(actor.encode(obs), th.randn(1, 200_000, actor.noise_dim))
        th.testing.assert_close(actor.deterministic(actor.encode(obs)), samples.mean(1), rtol=0, atol=4e-3)
        assert (actor.center(actor.encode(obs))[:, 0] - samples.mean(1)).abs().min() > 0.02

        actor.noise_layer.weight[:, :2] *= 100  # signs of the noise: four modes
        actor.state_layer.bias.zero_()
        action = actor.deterministic(actor.encode(obs))
        assert (action - output_layer.bias).abs().min() > 0.9


@pytest.mark.parametrize("location_path", [True, False])
def test_location_and_bounded_gain(location_path: bool) -> None:
    """The location only shifts the generator's output, and the gain stays between 0 and 2."""
    actor = policy(location_path=location_path).actor
    features = 100 * th.randn(8, 3)
    embedding = actor.encode(features)
    width = actor.noise_layer.out_features
    gain = embedding[:, width : 2 * width]
    assert 0 <= gain.min() < 0.1 and 1.9 < gain.max() <= 2
    noise = actor.sample_noise(embedding, 4)
    if location_path:
        th.testing.assert_close(
            embedding[:, 2 * width :], actor.location(actor.state_layer(actor.encoder(features))[:, 2 * width :])
        )
        moved = th.cat([embedding[:, : 2 * width], embedding[:, 2 * width :] + 5], dim=1)
        th.testing.assert_close(actor.generate(moved, noise), actor.generate(embedding, noise) + 5)
    else:
        assert embedding.shape == (8, 2 * width)


def test_initial_actions_are_broad_and_unsaturated() -> None:
    model = policy(net_arch=[256, 256])
    pre_tanh = model.actor.generate(
        embedding := model.actor.encode(th.randn(64, 3)), model.actor.sample_noise(embedding, 64)
    )
    assert 0.3 < pre_tanh.std(1).mean() < 1
    assert (th.tanh(pre_tanh).abs() > 0.99).float().mean() < 0.03


def test_activation_functions() -> None:
    model = policy(activation_fn=nn.Tanh, actor_activation_fn=nn.Softplus)
    in_actor, in_critic = ({type(module) for module in net.modules()} for net in (model.actor, model.critic))
    assert nn.Softplus in in_actor and nn.ELU not in in_actor
    assert nn.Tanh in in_critic and nn.ReLU not in in_critic | in_actor


@pytest.mark.parametrize("frame", ["moments", "sigma_points", "center", "none"])
def test_score_is_the_gradient_of_log_prob(frame: str) -> None:
    """By finite differences in double precision, including frame and squashing."""
    model = policy(frame=frame).double()
    features = th.randn(4, 3, dtype=th.float64)
    embedding = model.actor.encode(features)
    pre_tanh = model.actor.generate(embedding, model.actor.sample_noise(embedding)).detach()
    for _ in range(10):  # away from the initial Gaussian
        samples = model.actor.generate(embedding, model.actor.sample_noise(embedding, 8)).detach()
        model.estimator.step(model.actor.frame(embedding).to_local(samples), features)
    states = EncodedStates(features, features, embedding, model.actor.frame(embedding))

    def log_prob_at(x: th.Tensor) -> th.Tensor:
        return pre_tanh_log_prob(model.estimator, states, x)

    score, log_prob = pre_tanh_score(model.estimator, states, pre_tanh)
    assert log_prob is not None
    th.testing.assert_close(log_prob, log_prob_at(pre_tanh))
    step = 1e-6 * th.tensor([0.6, -0.8], dtype=th.float64)
    slope = log_prob_at(pre_tanh + step) - log_prob_at(pre_tanh - step)
    th.testing.assert_close(slope / 2e-6, score @ step * 1e6, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def trained() -> Iterator[SACARDAE]:
    """A model for Pendulum (one action in [-2, 2]), whose estimator is trained on the initial policy."""
    kwargs = {"generator_arch": [16], "score_kwargs": {"network_kwargs": {"hidden": (32, 32), "context_hidden": (32,)}}}
    model = make(policy_kwargs=kwargs, n_action_samples=16)
    # A policy that is not Gaussian
    nn.init.normal_(model.actor.noise_layer.weight, std=0.6)
    for update in range(600):
        for group in model.estimator.optimizer.param_groups:
            group["lr"] = 1e-3 if update < 400 else 2e-4
        model.update_score(model.policy.encode_states(random_observations(32)), 1)
    yield model


def random_observations(n: int) -> th.Tensor:
    angle = 2 * math.pi * th.rand(n)
    return th.stack([angle.cos(), angle.sin(), 16 * th.rand(n) - 8], dim=1)


def densities(model: SACARDAE, obs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return actions in [-2, 2], denser towards the bounds, and log-densities, shape (n_observations, n_actions)."""
    grid = 2 * th.tanh(th.linspace(-6, 6, 2001))
    log_prob = model.policy.log_prob(obs.repeat_interleave(2001, 0), grid.repeat(len(obs)).unsqueeze(1))
    return grid, log_prob.view(-1, 2001)


def test_density_in_the_environments_range(trained: SACARDAE) -> None:
    """The density integrates to one over [-2, 2] and agrees with a histogram of actions."""
    th.manual_seed(0)
    obs = random_observations(16)
    grid, log_prob = densities(trained, obs)
    density = log_prob.exp()
    integral = th.trapezoid(density, grid)
    assert (integral - 1).abs().max() < 0.05
    assert (integral - 1).abs().mean() < 0.02
    cells = th.clamp(((grid[1:] + grid[:-1]) / 2 + 2) / 0.1, 0, 39).long()
    for row, observation in zip(density[:4], obs[:4], strict=True):
        actions, _ = trained.predict(observation.expand(20_000, -1).numpy())
        histogram = th.histc(th.as_tensor(actions), 40, -2, 2) / 20_000
        masses = th.zeros(40).index_add(0, cells, (row[1:] + row[:-1]) / 2 * grid.diff())
        assert 0.5 * (histogram - masses).abs().sum() < 0.06


def test_entropy_is_minus_the_mean_log_prob(trained: SACARDAE) -> None:
    th.manual_seed(0)
    obs = random_observations(4)
    entropy = trained.policy.entropy(obs, n_samples=5000)
    assert entropy.shape == (4,)
    repeated = obs.repeat_interleave(5000, 0)
    actions = th.as_tensor(trained.predict(repeated.numpy())[0])
    th.testing.assert_close(
        entropy, -trained.policy.log_prob(repeated, actions).view(4, 5000).mean(1), rtol=0, atol=0.05
    )
    grid, log_prob = densities(trained, obs)
    th.testing.assert_close(entropy, -th.trapezoid(log_prob.exp() * log_prob, grid), rtol=0, atol=0.1)


def test_density_of_actions_at_the_bounds(trained: SACARDAE) -> None:
    log_prob = trained.policy.log_prob(random_observations(3), th.tensor([[-2.0], [2.0], [0.0]], dtype=th.float64))
    assert log_prob.shape == (3,) and log_prob.dtype == th.float32 and bool(log_prob.isfinite().all())


def test_policy_without_a_density() -> None:
    model = policy(score_kwargs=SCORE_KWARGS | {"normalization": None})
    with pytest.raises(ValueError, match=r"`normalization` must be one of .* to give a density, got None"):
        model.log_prob(th.randn(4, 3), th.zeros(4, 2))


class SmallMultiObs(SimpleMultiObsEnv):
    """SB3's environment with continuous actions."""

    def __init__(self) -> None:
        super().__init__(discrete_actions=False)


POLICIES: dict[str, tuple[type[MlpPolicy], gym.Env[Any, Any], dict[str, Any]]] = {
    "MlpPolicy": (
        MlpPolicy,
        gym.make("Pendulum-v1"),
        {
            "noise_dim": 4,
            "n_critics": 1,
            "frame": "center",
            "actor_activation_fn": nn.Tanh,
            "generator_activation_fn": nn.SiLU,
            "n_encoder_layers": 0,
            "location_path": False,
        },
    ),
    "shared extractor": (MlpPolicy, gym.make("Pendulum-v1"), {"share_features_extractor": True}),
    "CnnPolicy": (
        CnnPolicy,
        FakeImageEnv(screen_height=36, screen_width=36, discrete=False, channel_first=True),
        {"features_extractor_kwargs": {"features_dim": 8}},
    ),
    "MultiInputPolicy": (MultiInputPolicy, SmallMultiObs(), {"net_arch": {"pi": [8, 12], "qf": [10]}}),
}


@pytest.mark.parametrize("name", POLICIES)
def test_saved_alone(name: str, tmp_path: Path) -> None:
    policy_class, env, arguments = POLICIES[name]
    model = make(env, "MlpPolicy" if policy_class is MlpPolicy else name, policy_kwargs=arguments)
    assert type(model.policy) is policy_class
    path = str(tmp_path / "policy.pt")
    model.policy.save(path)
    loaded = policy_class.load(path, device="cpu")
    assert_same_predictions(model, loaded)
    assert loaded._get_constructor_parameters().keys() == model.policy._get_constructor_parameters().keys()
    assert loaded.actor.frame_kind == model.actor.frame_kind and loaded.score_kwargs == model.policy.score_kwargs
    assert loaded.share_features_extractor == model.policy.share_features_extractor
    for (parameter, tensor), other in zip(model.policy.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert th.equal(tensor, other), parameter

    model.actor.save(path)
    actor = type(model.actor).load(path, device="cpu")
    assert_same_predictions(model.actor, actor)


@pytest.mark.parametrize(
    "score_kwargs", [{}, {"preconditioned": False}, {"parameterization": "score"}, {"normalization": "dual"}], ids=str
)
def test_state_dict_can_be_randomized_and_restored(score_kwargs: dict[str, Any]) -> None:
    """All entries are floats, and each is restored."""
    model = policy(score_kwargs=SCORE_KWARGS | score_kwargs)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = {name: th.rand_like(tensor) for name, tensor in before.items()}
    model.load_state_dict(random)
    assert all(th.equal(tensor, random[name]) for name, tensor in model.state_dict().items())
    model.load_state_dict(before)
    assert all(th.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert th.equal(th.nn.utils.parameters_to_vector(model.parameters()), th.as_tensor(model.parameters_to_vector()))
