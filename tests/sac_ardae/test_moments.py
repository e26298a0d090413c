"""Exact moments of generators with one hidden layer: closed forms, and a million samples."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch as th

from ardae_rl.sac_ardae.moments import Moments, hermite_rule, one_layer_moments
from tests.sac_ardae.small import make

# (action dimension, noise dimension, factor of the noise, factor of the shifts)
GENERATORS = {
    "one dimension": (1, 4, 1.0, 1.0),
    "random": (6, 10, 1.0, 1.0),
    "nearly linear": (6, 10, 0.1, 0.1),
    "saturated": (6, 10, 3.0, 2.0),
    "large": (17, 32, 1.0, 1.0),
}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    th.manual_seed(0)
    th.set_default_dtype(th.float64)
    yield
    th.set_default_dtype(th.float32)


Generator = tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor, th.Tensor]


def generator(name: str, width: int = 64) -> Generator:
    """Shift, gain, noise weight, output weight and bias, for one state."""
    dim, noise_dim, scale, shift_scale = GENERATORS[name]
    shift, gain = shift_scale * th.randn(1, width), 2 * scale * th.sigmoid(th.randn(1, width))
    noise_weight = th.randn(width, noise_dim) / math.sqrt(noise_dim)
    return shift, gain, noise_weight, th.randn(dim, width) / math.sqrt(width), th.randn(dim)


def test_a_linear_sampler_by_hand() -> None:
    shift, gain, noise_weight, output_weight, bias = generator("random")
    moments = one_layer_moments(shift, gain, noise_weight, output_weight, bias, lambda h: h, hermite_rule(1, 2))
    linear = output_weight @ (gain.T * noise_weight)
    th.testing.assert_close(moments.mean[0], output_weight @ shift[0] + bias)
    th.testing.assert_close(moments.covariance[0], linear @ linear.T)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_hermite_polynomials_by_hand(n: int) -> None:
    """Of units without shift: the covariance of He_n(u·ε) and He_n(v·ε) is n! (u·v)^n (Mehler)."""
    polynomial = {2: lambda x: x**2 - 1, 3: lambda x: x**3 - 3 * x, 4: lambda x: x**4 - 6 * x**2 + 3}[n]
    directions = th.nn.functional.normalize(th.randn(5, 3), dim=1)
    zeros, ones = th.zeros(1, 5), th.ones(1, 5)
    moments = one_layer_moments(zeros, ones, directions, th.eye(5), th.zeros(5), polynomial, hermite_rule(4, 12))
    th.testing.assert_close(moments.covariance[0], math.factorial(n) * (directions @ directions.T) ** n)
    th.testing.assert_close(moments.mean[0], th.zeros(5), rtol=0, atol=1e-10)


def deviations(name: str, order: int, n_nodes: int) -> tuple[float, float]:
    """Largest errors of mean and covariance against a million samples, in their standard errors."""
    shift, gain, noise_weight, output_weight, bias = parts = generator(name)
    moments = one_layer_moments(*parts, th.tanh, hermite_rule(order, n_nodes))
    batches = [
        th.tanh(shift + gain * (th.randn(100_000, noise_weight.shape[1]) @ noise_weight.T)) @ output_weight.T + bias
        for _ in range(10)
    ]
    samples = th.cat(batches)
    n, centered = len(samples), samples - samples.mean(0)
    mean_error = (moments.mean[0] - samples.mean(0)).abs() / (centered.std(0) / math.sqrt(n))
    errors: list[th.Tensor] = []
    for column in centered.T:
        products = column.unsqueeze(1) * centered
        row = moments.covariance[0, len(errors)]
        errors.append((row - products.mean(0)).abs() / (products.std(0) / math.sqrt(n)))
    return float(mean_error.max()), float(th.stack(errors).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_a_million_samples(name: str) -> None:
    """With many nodes and orders: within four standard errors, the largest of up to 306 of them."""
    mean_error, covariance_error = deviations(name, order=30, n_nodes=200)
    assert mean_error < 4 and covariance_error < 4


@pytest.mark.parametrize("location_path", [True, False])
@pytest.mark.parametrize("generator_arch", [[16], [16, 8]], ids=str)
def test_moments_of_a_policy(location_path: bool, generator_arch: list[int]) -> None:
    """In closed form for one hidden layer, by sigma points for two, beside sampled actions."""
    th.set_default_dtype(th.float32)
    arguments: dict[str, Any] = {"generator_arch": generator_arch, "location_path": location_path, "frame": "moments"}
    policy = make(policy_kwargs=arguments).policy
    assert policy.actor.has_closed_form == (len(generator_arch) == 1)
    obs = th.randn(4, 3)
    moments = policy.moments(obs)
    states = policy.encode_states(obs)
    samples = policy.actor.sample(states.embedding, 100_000).detach()
    tolerance = 0.02 if policy.actor.has_closed_form else 0.4  # of one basis of sigma points
    std = samples.std(1)
    assert ((moments.mean - samples.mean(1)).abs() < tolerance * std).all()
    assert ((moments.covariance[:, 0].sqrt() - std).abs() < tolerance * std).all()
    # The frame of the states comes from a lower order
    local = states.frame.to_local(samples) / math.sqrt(1 + policy.actor.output_noise**2)
    tolerance = max(tolerance, 0.05)
    th.testing.assert_close(local.mean(1), th.zeros(4, 1), rtol=0, atol=tolerance)
    th.testing.assert_close(local.std(1), th.ones(4, 1), rtol=0, atol=tolerance)


def test_trains_and_loads_with_the_frame_of_moments(tmp_path: Any) -> None:
    th.set_default_dtype(th.float32)
    model = make(policy_kwargs={"frame": "moments"}).learn(20)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    obs = th.randn(3, 3)
    before, after = model.policy.moments(obs), loaded.policy.moments(obs)
    assert isinstance(before, Moments)
    th.testing.assert_close(before, after)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`order` must be >= 1, got 0"):
        hermite_rule(0)
    with pytest.raises(ValueError, match="`n_nodes` must be >= 4, got 3"):
        hermite_rule(3, 3)
