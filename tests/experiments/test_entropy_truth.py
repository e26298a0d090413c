"""The two truths of the entropy, compared with Gaussians and mixtures whose entropies are known."""

import math

import numpy as np
import pytest
import torch as th

from experiments.entropy_truth import mixture_bounds, neighbor_bias, neighbor_entropy


def _gaussian(dim: int, n: int, m: int, noise: float) -> tuple[th.Tensor, th.Tensor, th.Tensor, float]:
    """Return points, means and factor of x = g + c L ε' for g ~ N(0, L Lᵀ), and the entropy of x."""
    th.manual_seed(dim)
    factor = th.tril(0.5 * th.randn(dim, dim), -1) + th.diag(th.logspace(-1, 1, dim))
    means = th.randn(m, dim) @ factor.mT + 3
    points = means[:n] + noise * th.randn(n, dim) @ factor.mT
    scale = math.sqrt(1 + noise**2)
    return (
        points,
        means,
        factor,
        float((scale * factor.diagonal()).log().sum()) + dim * 0.5 * math.log(2 * math.pi * math.e),
    )


@pytest.mark.parametrize(("dim", "noise", "gap"), [(1, 0.3, 0.01), (2, 0.5, 0.03), (6, 1.0, 0.4)])
def test_mixture_bounds_enclose_the_entropy_of_a_gaussian(dim: int, noise: float, gap: float) -> None:
    points, means, factor, entropy = _gaussian(dim, 2048, 8192, noise)
    lower, upper = mixture_bounds(points, means, factor, noise)
    error = 3 * math.sqrt(dim / 2 / len(points))
    assert lower - error < entropy < upper + error
    assert 0 < upper - lower < gap


@pytest.mark.parametrize(
    ("dim", "noise", "gap", "error"), [(3, 0.3, 0.08, 0.02), (6, 0.3, 1.5, 0.12), (6, 0.5, 0.22, 0.02)]
)
def test_the_middle_of_the_bounds_is_more_accurate(dim: int, noise: float, gap: float, error: float) -> None:
    """Compared with minus the mean exact log-density of the same points, which has no sampling error in between."""
    th.manual_seed(0)
    means = th.randn(4096, dim)
    points = means[:1024] + noise * th.randn(1024, dim)
    variance = 1 + noise**2
    exact = 0.5 * float(points.square().sum(1).mean()) / variance + 0.5 * dim * math.log(2 * math.pi * variance)
    lower, upper = map(float, mixture_bounds(points, means, th.eye(dim), noise))
    assert upper - lower == pytest.approx(gap, rel=0.25)
    assert 0.5 * (lower + upper) == pytest.approx(exact, abs=error)


def test_mixture_bounds_are_exact_for_one_component() -> None:
    """All means are equal, so x is Gaussian with covariance c² L Lᵀ whichever component made it."""
    th.manual_seed(0)
    factor, points = th.tensor([[2.0, 0.0], [1.0, 0.5]]), th.randn(5000, 2)
    lower, upper = map(float, mixture_bounds(0.3 * points @ factor.mT, th.zeros(5000, 2), factor, 0.3))
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3**2 * 2 * 0.5)
    assert lower == pytest.approx(upper, abs=1e-5) == pytest.approx(entropy, abs=0.05)


def test_mixture_bounds_of_separate_modes() -> None:
    """Two far modes add ln 2 to the entropy of one."""
    th.manual_seed(0)
    means = th.where(th.rand(8192, 1) < 0.5, -50.0, 50.0) + th.randn(8192, 1)
    points = means[:4096] + 0.5 * th.randn(4096, 1)
    lower, upper = mixture_bounds(points, means, th.eye(1), 0.5)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 1.25) + math.log(2)
    assert lower - 0.04 < entropy < upper + 0.04


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_neighbors_less_their_bias(dim: int) -> None:
    points, _, _, entropy = _gaussian(dim, 2000, 2000, 0.5)
    measured = neighbor_entropy(points.double().numpy()) - neighbor_bias(2000, dim)
    assert measured == pytest.approx(entropy, abs=4 * math.sqrt(dim / 2 / 2000))
    assert np.isfinite(neighbor_bias(2000, dim))
