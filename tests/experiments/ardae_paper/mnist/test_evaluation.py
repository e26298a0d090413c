"""Estimates from importance weights, proposals and annealing where the normalizer is known."""

import math

import pytest
import torch as th

from experiments.ardae_paper.mnist.annealed import annealed_estimate
from experiments.ardae_paper.mnist.evaluation import estimate, fit_laplace
from experiments.ardae_paper.mnist.images import arc, tiled
from experiments.ardae_paper.mnist.posteriors import GaussianPosterior
from experiments.ardae_paper.mnist.proposals import Proposal, moment_proposal
from tests.experiments.ardae_paper.mnist.linear_model import linear_autoencoder

DIM, N_PIXELS = 3, 5


def test_estimate_by_hand() -> None:
    result = estimate(th.tensor([[math.log(1.0), math.log(3.0)]]))
    assert result.log_prob.item() == pytest.approx(math.log(2.0))
    assert result.sample_size.item() == pytest.approx(1 / (0.25**2 + 0.75**2))
    # Var(w) / n over the squared mean: ((1 - 2)² + (3 - 2)²) / 2 / 2 / 4
    assert result.standard_error.item() == pytest.approx(math.sqrt(0.125))


def test_density_of_a_proposal() -> None:
    th.manual_seed(0)
    factor = th.tensor([[[0.5, 0.0], [0.3, 1.2]]])
    proposal = Proposal(th.tensor([[1.0, -1.0]]), factor, defensive_weight=0.3, defensive_scale=2.0)
    z, log_q = proposal.sample(5)
    components = [th.distributions.MultivariateNormal(proposal.mean, scale_tril=k * factor) for k in (1.0, 2.0)]
    densities = [component.log_prob(z).exp() for component in components]
    th.testing.assert_close(log_q.exp(), 0.7 * densities[0] + 0.3 * densities[1])
    th.testing.assert_close(proposal.from_local(proposal.to_local(z)), z)
    many = proposal.sample(200_000)[0][0]
    th.testing.assert_close(many.T.cov(), (0.7 + 0.3 * 4) * factor[0] @ factor[0].T, rtol=0.03, atol=0.02)


def test_moment_proposal() -> None:
    samples = th.randn(1, 500, 2, generator=th.Generator().manual_seed(0))
    proposal = moment_proposal(samples)
    th.testing.assert_close(proposal.mean, samples.mean(1))
    th.testing.assert_close(proposal.factor @ proposal.factor.mT, samples[0].T.cov().unsqueeze(0), rtol=1e-3, atol=1e-3)


def test_laplace_approximation_and_annealing_of_a_linear_model() -> None:
    """The Laplace approximation is the posterior; annealing from a poor start finds ln p(x)."""
    th.manual_seed(0)
    model, decoder = linear_autoencoder(GaussianPosterior(N_PIXELS, DIM), N_PIXELS)
    x = decoder.marginal().sample((8,))
    proposal, exact = fit_laplace(model, x), decoder.posterior(x)
    th.testing.assert_close(proposal.mean, exact.mean, atol=1e-3, rtol=1e-3)
    covariance = proposal.factor @ proposal.factor.mT
    th.testing.assert_close(covariance, exact.covariance_matrix.expand_as(covariance), atol=1e-3, rtol=1e-3)
    prior = Proposal(th.zeros(8, DIM), th.eye(DIM).expand(8, -1, -1))
    result = annealed_estimate(lambda z: model.log_joint(x, z), prior, n_chains=64, n_temperatures=60)
    error = result.log_prob - decoder.marginal().log_prob(x)
    assert (error.abs() < 3.5 * result.standard_error).all()
    assert result.standard_error.max() < 0.2, "the prior alone would have 1 and more"


def test_walk_and_tiles() -> None:
    points = arc(th.tensor([[2.0, 0.0]]), th.tensor([[0.0, 2.0]]), 5)[0]
    th.testing.assert_close(points.norm(dim=1), th.full((5,), 2.0))
    th.testing.assert_close(points[2], th.full((2,), math.sqrt(2.0)))
    image = tiled(th.arange(4).repeat_interleave(4).view(4, 4), columns=2)
    assert image.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
