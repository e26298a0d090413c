"""Mixtures against torch's distributions, limits, and gradients."""

import math

import pytest
import torch as th
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from ardae_rl.world_models.mixture import (
    Mixture,
    cross_entropy_bound,
    gaussian_kl,
    negative_log_likelihood,
    transform,
)

BATCH, DIM, K = 7, 3, 5
both_forms = pytest.mark.parametrize("n_weights", [1, DIM], ids=["joint", "per dimension"])


def mixture(n_weights: int, k: int = K, seed: int = 0) -> Mixture:
    generator = th.Generator().manual_seed(seed)
    draw = [
        th.randn(BATCH, n, k, generator=generator, dtype=th.float64).requires_grad_() for n in (n_weights, DIM, DIM)
    ]
    return Mixture(draw[0].log_softmax(-1), 2 * draw[1], 0.5 * draw[2])


def torch_mixture(m: Mixture) -> MixtureSameFamily | Independent:
    normal = Normal(m.means, m.log_scales.exp())
    if m.log_weights.shape[-2] == 1:
        components = Independent(Normal(normal.loc.mT, normal.scale.mT), 1)
        return MixtureSameFamily(Categorical(logits=m.log_weights.squeeze(-2)), components)
    return Independent(MixtureSameFamily(Categorical(logits=m.log_weights), normal), 1)


def sample(m: Mixture, temperature: float, generator: th.Generator | None = None) -> th.Tensor:
    uniform = th.empty_like(m.log_weights[..., 0]).uniform_(generator=generator)
    return transform(m, uniform, th.empty_like(m.means[..., 0]).normal_(generator=generator), temperature)


def target(seed: int = 1) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(seed)
    mean, log_std = th.randn(2, BATCH, DIM, generator=generator, dtype=th.float64)
    return 2 * mean, log_std - 1


@both_forms
def test_likelihood(n_weights: int) -> None:
    m, (y, _) = mixture(n_weights), target()
    expected = -torch_mixture(m).log_prob(y)
    th.testing.assert_close(negative_log_likelihood(m, y), expected, rtol=0, atol=1e-12)


@both_forms
def test_mean(n_weights: int) -> None:
    m = mixture(n_weights)
    th.testing.assert_close(m.mean, torch_mixture(m).mean)


@both_forms
def test_order_of_components_does_not_matter(n_weights: int) -> None:
    m, (y, log_std) = mixture(n_weights), target()
    turned = Mixture(*(part.flip(-1) for part in m))
    th.testing.assert_close(negative_log_likelihood(turned, y), negative_log_likelihood(m, y))
    th.testing.assert_close(cross_entropy_bound(turned, y, log_std), cross_entropy_bound(m, y, log_std))


def test_one_component_is_a_gaussian() -> None:
    m, (mean, log_std) = mixture(1, k=1), target()
    p, q = Normal(m.means[..., 0], m.log_scales[..., 0].exp()), Normal(mean, log_std.exp())
    kl = kl_divergence(q, p).sum(-1)
    th.testing.assert_close(negative_log_likelihood(m, mean), -p.log_prob(mean).sum(-1), rtol=0, atol=1e-12)
    th.testing.assert_close(gaussian_kl(m, mean, log_std), kl, rtol=0, atol=1e-12)
    entropy = q.entropy().sum(-1)
    th.testing.assert_close(cross_entropy_bound(m, mean, log_std), kl + entropy, rtol=0, atol=1e-12)


@both_forms
def test_bound_lies_above_the_expectation(n_weights: int) -> None:
    """It is nowhere lower by more than four standard errors of the samples, and higher in places."""
    m, (mean, log_std) = mixture(n_weights), target()
    y = mean + log_std.exp() * th.randn(20_000, BATCH, DIM, generator=th.Generator().manual_seed(2), dtype=th.float64)
    losses = negative_log_likelihood(m, y)
    gap = cross_entropy_bound(m, mean, log_std) - losses.mean(0)
    error = losses.std(0) / math.sqrt(len(losses))
    assert (gap > -4 * error).all() and (gap > 4 * error).any()


def test_divergence_needs_one_component() -> None:
    with pytest.raises(ValueError, match=r"`mixture` must have 1 component .*, got 5"):
        gaussian_kl(mixture(1), *target())


@both_forms
def test_finite_far_away(n_weights: int) -> None:
    """Losses and gradients are finite at |y| = 1e4 with ln σ = ±20."""
    for log_scale in (-20.0, 20.0):
        parts = [th.zeros(n_weights, K), th.zeros(DIM, K), th.full((DIM, K), log_scale)]
        parts = [part.requires_grad_() for part in parts]
        m = Mixture(parts[0].log_softmax(-1), *parts[1:])
        y = th.full((DIM,), 1e4)
        for loss in (negative_log_likelihood(m, y), cross_entropy_bound(m, y, th.zeros_like(y))):
            assert th.isfinite(loss)
            gradients = th.autograd.grad(loss, parts, retain_graph=True)
            assert all(bool(th.isfinite(gradient).all()) for gradient in gradients)


@both_forms
def test_gradients(n_weights: int) -> None:
    mean, log_std = target()
    parts = [part.detach().requires_grad_() for part in mixture(n_weights)]

    def losses(*raw: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        m = Mixture(raw[0].log_softmax(-1), *raw[1:])
        return negative_log_likelihood(m, mean), cross_entropy_bound(m, mean, log_std)

    assert th.autograd.gradcheck(losses, parts)


@both_forms
@pytest.mark.parametrize("temperature", [0.25, 1.0, 1.5])
def test_draws(n_weights: int, temperature: float) -> None:
    """Moments agree within five standard errors: σ scales with √τ, weights are raised to the power 1/τ."""
    one = mixture(n_weights)
    m = Mixture(*(part[:1].detach().expand(40_000, -1, -1) for part in one))
    y = sample(m, temperature, th.Generator().manual_seed(0))
    weights = (one.log_weights[0] / temperature).softmax(-1)
    mean = (weights * one.means[0]).sum(-1)
    variance = (weights * (one.means[0].square() + temperature * (2 * one.log_scales[0]).exp())).sum(-1) - mean**2
    error = (variance / len(y)).sqrt()
    assert ((y.mean(0) - mean).abs() < 5 * error).all()
    fourth = (y - y.mean(0)).pow(4).mean(0)
    assert ((y.var(0) - variance).abs() < 5 * ((fourth - variance**2) / len(y)).sqrt()).all()


def test_joint_draws_share_their_component() -> None:
    means = th.tensor([[-5.0, 5.0], [-5.0, 5.0]])
    shared = Mixture(th.zeros(1, 2).log_softmax(-1), means, th.full((2, 2), -3.0))
    own = shared._replace(log_weights=th.zeros(2, 2).log_softmax(-1))
    generator = th.Generator().manual_seed(0)
    for m, always in ((shared, True), (own, False)):
        signs = sample(Mixture(*(part.expand(1000, -1, -1) for part in m)), 1.0, generator).sign()
        assert bool((signs[:, 0] == signs[:, 1]).all()) is always


@both_forms
def test_no_temperature(n_weights: int) -> None:
    """The sample is the most likely component's mean, the limit of low temperatures."""
    m = mixture(n_weights)
    cold = sample(m, 0.0)
    th.testing.assert_close(cold, sample(m, 1e-9), atol=1e-3, rtol=0)
    likeliest = m.log_weights.argmax(-1).expand(BATCH, DIM)
    th.testing.assert_close(cold, m.means.gather(-1, likeliest.unsqueeze(-1)).squeeze(-1))
    with pytest.raises(ValueError, match="`temperature` must be >= 0, got -1"):
        sample(m, -1)
