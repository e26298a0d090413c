"""Learned state-space models: densities match samples, for every kind of dynamics and emission."""

import math
from collections.abc import Callable

import pytest
import torch as th
from torch.distributions import Bernoulli, Independent, Normal

from ardae_rl.common.gaussians import soft_clamp
from ardae_rl.dvbf.dynamics import (
    LOG_STD_MAX,
    LOG_STD_MIN,
    GaussianEmission,
    ImageEmission,
    LearnedSSM,
    LocallyLinearDynamics,
    NeuralDynamics,
)
from ardae_rl.dvbf.elbo import elbo
from ardae_rl.dvbf.posteriors import InitialStatePosterior, NoisePosterior, SequenceEncoder, StepPosterior

D, M, OBS = 3, 2, 4
DYNAMICS: dict[str, Callable[[], LocallyLinearDynamics | NeuralDynamics]] = {
    "locally linear": lambda: LocallyLinearDynamics(D, M, n_matrices=5),
    "neural": lambda: NeuralDynamics(D, M),
}
EMISSIONS: dict[str, Callable[[], GaussianEmission | ImageEmission]] = {
    "gaussian": lambda: GaussianEmission(D, OBS),
    "image": lambda: ImageEmission(D, OBS),
}


def model(dynamics: str = "neural", emission: str = "gaussian") -> LearnedSSM:
    th.manual_seed(0)
    return LearnedSSM(DYNAMICS[dynamics](), EMISSIONS[emission]())


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_prior(dynamics: str) -> None:
    """The density of z' is that of simulated noisy steps, and equals the formula."""
    ssm, n = model(dynamics), 100_000
    z, u = th.randn(1, D), th.randn(1, M)
    mean, log_std = ssm.dynamics(z, u)
    next_state = ssm.next_state(z.expand(n, -1), u.expand(n, -1), th.randn(n, D))
    error = 4 * log_std[0].exp() / math.sqrt(n)
    assert bool(((next_state.mean(0) - mean[0]).abs() < error).all())
    th.testing.assert_close(next_state.std(0), log_std[0].exp(), rtol=0.02, atol=0)
    path, controls = th.randn(2, 4, D), th.randn(2, 3, M)
    expected = Independent(Normal(th.zeros(D), th.ones(D)), 1).log_prob(path[:, 0])
    for t in range(3):
        mean, log_std = ssm.dynamics(path[:, t], controls[:, t])
        expected = expected + Independent(Normal(mean, log_std.exp()), 1).log_prob(path[:, t + 1])
    th.testing.assert_close(ssm.log_prior(path, controls), expected)


def test_mixtures_of_matrices() -> None:
    """With one matrix of each kind, the dynamics are linear; with more, each row has its own mixture."""
    th.manual_seed(0)
    one = LocallyLinearDynamics(D, M, n_matrices=1)
    z, u = th.randn(5, D), th.randn(5, M)
    th.testing.assert_close(one(z, u)[0], z @ one.ab[0, :, :D].mT + u @ one.ab[0, :, D:].mT)
    many = LocallyLinearDynamics(D, M, n_matrices=4)
    weights = many.weights(th.cat([z, u], -1)).softmax(-1)
    for i in range(5):
        a, b = th.einsum("m,mij->ij", weights[i], many.ab).split((D, M), -1)
        th.testing.assert_close(many(z, u)[0][i], a @ z[i] + b @ u[i])


def test_emissions() -> None:
    z, x = th.randn(2, 5, D), th.rand(2, 5, OBS)
    gaussian, image = model().emission, model(emission="image").emission
    assert isinstance(gaussian, GaussianEmission)
    expected = Independent(Normal(gaussian.mean(z), soft_clamp(gaussian.log_std, LOG_STD_MIN).exp()), 1).log_prob(x)
    th.testing.assert_close(gaussian(z, x), expected)
    black = x.round()
    th.testing.assert_close(image(z, black), Independent(Bernoulli(image.mean(z)), 1).log_prob(black))


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("emission", EMISSIONS)
def test_everything_is_trained(dynamics: str, emission: str) -> None:
    ssm = model(dynamics, emission)
    x, u = th.rand(3, 6, OBS), th.randn(3, 5, M)
    for posterior in (StepPosterior, NoisePosterior, InitialStatePosterior):
        q = posterior(SequenceEncoder(OBS, M), D)
        terms, z = elbo(ssm, q, x, u)
        assert z.shape == (3, 6, D) and terms.elbo.shape == (3,)
        ssm.zero_grad()
        (-terms.elbo.mean()).backward()
        silent = posterior is InitialStatePosterior
        for name, parameter in [*ssm.named_parameters(), *q.named_parameters()]:
            if silent and name in ("dynamics.log_c", "dynamics.log_std"):
                continue
            assert parameter.grad is not None, (posterior, name)


def test_generation() -> None:
    """Without noise, the path consists of means; it begins at the given state."""
    ssm = model()
    z, u = th.randn(2, D), th.randn(2, 4, M)
    path, seen = ssm.generate(z, u, noise=False)
    th.testing.assert_close(path[:, 0], z)
    th.testing.assert_close(path[:, 3], ssm.dynamics(path[:, 2], u[:, 2])[0])
    th.testing.assert_close(seen, ssm.emission.mean(path))
    assert not th.allclose(ssm.generate(z, u)[0], path)


@pytest.mark.parametrize("raw", [-20.0, 20.0])
@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_noise_beyond_its_bounds_is_still_learned(dynamics: str, raw: float) -> None:
    """The noise stays within its bounds, and the gradient points back to them."""
    module = DYNAMICS[dynamics]()
    parameter = module.log_c if isinstance(module, LocallyLinearDynamics) else module.log_std
    parameter.data.fill_(raw)
    _, log_std = module(th.zeros(1, D), th.zeros(1, M))
    th.testing.assert_close(log_std, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), atol=1e-3, rtol=0)
    (gradient,) = th.autograd.grad(log_std.sum(), parameter)
    assert bool((gradient > 0).all())


def test_noise_of_an_emission_below_its_bound_is_still_learned() -> None:
    module = GaussianEmission(D, OBS)
    module.log_std.data.fill_(-20.0)
    (gradient,) = th.autograd.grad(module(th.zeros(1, D), th.ones(1, OBS)).sum(), module.log_std)
    assert bool((gradient != 0).all())
