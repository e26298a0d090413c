"""Correlated samples: the triangular factor, and the estimator that uses it."""

import math

import pytest
import torch as th

from ardae_rl.score import ARDAE
from ardae_rl.score.correlation import Decorrelation


def _residual(n: int, factor: th.Tensor) -> th.Tensor:
    """Return normal residuals of unit variance whose correlation is that of A Aᵀ, (1, n, dim)."""
    covariance = factor @ factor.mT
    return th.randn(1, n, len(factor)) @ factor.mT / covariance.diagonal().sqrt()


@pytest.mark.parametrize("gap", [0.5, 1e-3])
def test_residuals_become_uncorrelated(gap: float) -> None:
    """Even if two variables differ by a thousandth of their scale."""
    th.manual_seed(0)
    factor = th.tensor([[1.0, 0.0], [1.0, gap]])
    decorrelation = Decorrelation(2)
    for _ in range(100):
        decorrelation.update(_residual(512, factor))
    z = (_residual(20_000, factor) @ decorrelation.matrix.mT)[0]
    assert th.allclose(z.T.cov(), th.eye(2), atol=0.06)
    assert decorrelation.matrix[0, 1] == 0


def test_few_samples_of_many_dimensions_leave_the_matrix_moderate() -> None:
    """Four samples in 20 dimensions: their own covariance would be singular."""
    th.manual_seed(0)
    decorrelation = Decorrelation(20)
    decorrelation.update(th.randn(2, 2, 20))
    assert th.linalg.cond(decorrelation.matrix) < 5
    for _ in range(1200):
        decorrelation.update(th.randn(2, 2, 20))
    assert th.linalg.cond(decorrelation.matrix) < 2


def test_outliers_do_not_rule_the_correlation() -> None:
    """One residual in a hundred is a thousand times too far, in a direction that the others do not prefer."""
    th.manual_seed(0)
    decorrelation = Decorrelation(2)
    for _ in range(100):
        residual = th.randn(1, 500, 2)
        residual[:, :5] = 1000 * th.tensor([1.0, 1.0])
        decorrelation.update(residual)
    assert th.allclose(decorrelation.matrix, th.eye(2), atol=0.15)


@pytest.mark.parametrize("samples", [th.zeros(1, 64, 3), th.ones(1, 64, 1).expand(1, 64, 3) * th.randn(1, 64, 1)])
def test_degenerate_residuals_give_finite_matrices(samples: th.Tensor) -> None:
    decorrelation = Decorrelation(3)
    for _ in range(1200):
        decorrelation.update(samples)
    assert decorrelation.matrix.isfinite().all()


def test_scores_and_densities_are_with_respect_to_the_samples() -> None:
    """The score is the gradient of the log-density, whose integral over the plane is 1, also with a factor."""
    th.manual_seed(0)
    estimator = ARDAE(2, normalization="importance", averaging=1)
    factor = th.tensor([[2.0, 0.0], [1.8, 0.3]])
    for _ in range(30):
        estimator.update(th.randn(256, 2) @ factor.mT)
    x = (th.randn(50, 2) @ factor.mT).double()
    estimator.double()
    step = 1e-4
    for axis in range(2):
        offset = step * th.eye(2, dtype=th.float64)[axis]
        slope = (_energy(estimator, x + offset) - _energy(estimator, x - offset)) / (2 * step)
        assert th.allclose(estimator.score(x)[:, axis], slope, atol=1e-4)
    matrix = estimator.standardizer.coordinates(x.new_zeros(1, 0)).matrix
    assert matrix is not None and matrix[1, 0] < -1


def _energy(estimator: ARDAE, x: th.Tensor) -> th.Tensor:
    """Return the log-density, with the same importance samples in each call."""
    th.manual_seed(1)
    return estimator.log_prob(x)


@pytest.mark.parametrize("context_dim", [0, 2])
def test_entropy_of_a_thin_line(context_dim: int) -> None:
    """The diagonal of a square, a thousandth thick: without a factor, the density's bias is more than two nats."""
    th.manual_seed(0)
    estimator = ARDAE(2, context_dim)
    factor = th.tensor([[1.0, 0.0], [1.0, 1e-3]])
    n, batch = (16, 16) if context_dim else (256, 1)
    for _ in range(200):
        context = th.randn(batch, context_dim)
        samples = th.randn(batch, n, 2) @ factor.mT
        estimator.update(*((samples + context.unsqueeze(1), context) if context_dim else (samples[0], None)))
    context = th.randn(batch, context_dim)
    samples = th.randn(batch, n, 2) @ factor.mT
    arguments = (samples + context.unsqueeze(1), context) if context_dim else (samples[0], None)
    entropy = math.log(2 * math.pi * math.e) + math.log(1e-3)
    assert float(estimator.entropy(*arguments).mean()) == pytest.approx(entropy, abs=0.3)
