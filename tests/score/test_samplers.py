"""Samplers: where they draw their noise, in which precision, and the bound on their entropy."""

import math

import pytest
import torch as th

from ardae_rl.score.entropy import EntropyBound
from ardae_rl.score.samplers import ConditionalGaussian, HierarchicalSampler, ImplicitSampler

SAMPLERS = {
    "implicit": lambda: ImplicitSampler(5, 3, [8]),
    "residual": lambda: ImplicitSampler(5, 3, [8], residual=True),
    "hierarchical": lambda: HierarchicalSampler(5, 3, [8]),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_noise_is_on_the_parameters_device(kind: str) -> None:
    """On the meta device, an operation with a CPU tensor would be refused."""
    sampler = SAMPLERS[kind]().to("meta")
    assert sampler.sample_noise(4).device.type == "meta"
    x = sampler(4)
    assert x.device.type == "meta" and x.shape == (4, 3)
    assert SAMPLERS[kind]().double()(4).dtype == th.float64


def test_residual_needs_as_much_noise_as_dimensions() -> None:
    with pytest.raises(ValueError, match="`noise_dim` must be >= 3, got 2"):
        ImplicitSampler(2, 3, [8], residual=True)


def _linear(weight: th.Tensor, log_variance: float, n_in: int) -> ConditionalGaussian:
    """N(W c, exp(log_variance) I), with W for a network: relu(c) - relu(-c) = c."""
    conditional = ConditionalGaussian(n_in, len(weight), [2 * n_in])
    with th.no_grad():
        first = conditional.trunk[0]
        assert isinstance(first, th.nn.Linear)
        first.weight.copy_(th.cat([th.eye(n_in), -th.eye(n_in)]))
        conditional.mean.weight.copy_(th.cat([weight, -weight], dim=1))
        for layer in (first, conditional.mean, conditional.log_variance):
            layer.bias.zero_()
        conditional.log_variance.weight.zero_()
        conditional.log_variance.bias.fill_(log_variance)
    return conditional


def test_the_entropy_bound_is_tight_for_the_posterior_only() -> None:
    """x = a z + s ε has variance a² + s², and z | x is N(a x / (a² + s²), s² / (a² + s²))."""
    th.manual_seed(0)
    a, s = 1.5, 0.5
    variance = a**2 + s**2
    sampler = HierarchicalSampler(2, 2, [4])
    sampler.conditional = _linear(a * th.eye(2), math.log(s**2), 2)
    entropy = math.log(2 * math.pi * math.e * variance)
    exact = _linear(a / variance * th.eye(2), math.log(s**2 / variance), 2)
    x, bound = EntropyBound(sampler, exact)(20_000)
    assert x.shape == (20_000, 2)
    assert float(bound.detach()) == pytest.approx(entropy, abs=0.03)  # four standard errors
    wide = _linear(a / variance * th.eye(2), math.log(2 * s**2 / variance), 2)
    loss = 2 * 0.5 * (math.log(2) - 0.5)  # KL of the posterior to one of twice its variance, in two dimensions
    assert float(EntropyBound(sampler, wide)(20_000)[1].detach()) == pytest.approx(entropy - loss, abs=0.04)


def test_samplers() -> None:
    th.manual_seed(0)
    hierarchical = HierarchicalSampler(2, 3, [8], min_log_variance=-4.0)
    for sampler in (ImplicitSampler(5, 3, [8, 8]), hierarchical):
        x = sampler(4)
        assert x.shape == (4, 3)
        x.square().sum().backward()
        assert all(parameter.grad is not None for parameter in sampler.parameters())
    with th.no_grad():
        hierarchical.conditional.log_variance.bias.fill_(-100.0)
    th.testing.assert_close(hierarchical.conditional(th.randn(4, 2)).variance, th.full((4, 3), math.exp(-4.0)))


def test_a_new_residual_sampler_returns_its_noise() -> None:
    sampler = ImplicitSampler(5, 3, [8], residual=True)
    th.manual_seed(0)
    samples = sampler(7)
    th.manual_seed(0)
    th.testing.assert_close(samples, sampler.sample_noise(7)[:, :3], rtol=0, atol=0)
