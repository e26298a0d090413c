"""Densities and divergences against torch.distributions."""

import pytest
import torch as th
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from ardae_rl.common.gaussians import kl_rank_one, kl_to_diagonal, kl_to_standard, normal_log_density, soft_clamp

N, D = 200, 3


def draw(seed: int, *shape: int) -> th.Tensor:
    return th.randn(shape, generator=th.Generator().manual_seed(seed), dtype=th.float64)


def test_rank_one() -> None:
    """Random v and r, with determinants of both signs."""
    mean, log_std, v, r, other_mean, other_log_std = (draw(seed, N, D) for seed in range(6))
    determinant = 1 + (v * r).sum(-1)
    assert bool((determinant < -0.1).any()) and bool((determinant > 0.1).any())
    a = th.eye(D, dtype=th.float64) + v.unsqueeze(-1) * r.unsqueeze(-2)
    # The oracle uses a Cholesky factor, which is inaccurate for determinants near zero
    fit = determinant.abs() > 0.1
    covariance = a @ th.diag_embed((2 * log_std).exp()) @ a.mT
    expected = kl_divergence(
        MultivariateNormal(mean[fit], covariance[fit]),
        MultivariateNormal(other_mean[fit], th.diag_embed((2 * other_log_std[fit]).exp())),
    )
    result = kl_rank_one(mean, log_std, v, r, other_mean, other_log_std)
    th.testing.assert_close(result[fit], expected, atol=1e-9, rtol=1e-9)
    th.testing.assert_close(
        kl_to_diagonal(mean, covariance, other_mean, other_log_std)[fit], expected, atol=1e-9, rtol=1e-9
    )


def test_rank_one_of_the_identity_is_diagonal() -> None:
    mean, log_std, other_mean, other_log_std = (draw(seed, N, D) for seed in range(4))
    zeros = th.zeros(N, D, dtype=th.float64)
    expected = kl_divergence(
        Independent(Normal(mean, log_std.exp()), 1), Independent(Normal(other_mean, other_log_std.exp()), 1)
    )
    th.testing.assert_close(kl_rank_one(mean, log_std, zeros, draw(7, N, D), other_mean, other_log_std), expected)
    th.testing.assert_close(
        kl_to_standard(mean, log_std), kl_rank_one(mean, log_std, zeros, zeros, zeros, zeros), atol=1e-12, rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 5, 4)])
def test_log_density(shape: tuple[int, ...]) -> None:
    x, mean, log_std = (draw(seed, *shape) for seed in range(3))
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(x)
    th.testing.assert_close(normal_log_density(x, mean, log_std), expected)


def test_soft_clamp() -> None:
    """Close to x well inside of the bounds, close to a bound well beyond it; ln 2 above one that it equals."""
    x = th.tensor([-50.0, -1.0, 50.0], dtype=th.float64)
    expected = th.tensor([-20.0, -1.0, 20.0], dtype=th.float64)
    th.testing.assert_close(soft_clamp(x, -20.0, 20.0), expected, atol=1e-7, rtol=0)
    th.testing.assert_close(soft_clamp(th.zeros(()), 0.0), th.tensor(2.0).log())
