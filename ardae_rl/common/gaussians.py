"""Gaussians pushed through linear maps, and how far they are from diagonal ones."""

import math

import torch as th


def kl_to_diagonal(
    mean: th.Tensor,
    covariance: th.Tensor,
    other_mean: th.Tensor,
    other_log_std: th.Tensor,
    log_determinant: th.Tensor | None = None,
) -> th.Tensor:
    """KL(N(mean, covariance) || N(other_mean, diag e^(2 other_log_std))), (n).

    :param mean: (n, d)
    :param covariance: (n, d, d), positive definite
    :param other_mean: (n, d)
    :param other_log_std: (n, d)
    :param log_determinant: of the covariance, (n), where it is known better than its numbers tell: after several maps
        it may be singular as far as they go
    """
    precision = (-2 * other_log_std).exp()
    trace = (covariance.diagonal(dim1=-2, dim2=-1) * precision).sum(-1)
    if log_determinant is None:
        log_determinant = th.linalg.slogdet(covariance)[1]
    return _kl(trace, (other_mean - mean).square() * precision, other_log_std, log_determinant)


def kl_rank_one(
    mean: th.Tensor,
    log_std: th.Tensor,
    v: th.Tensor,
    r: th.Tensor,
    other_mean: th.Tensor,
    other_log_std: th.Tensor,
) -> th.Tensor:
    """KL(N(mean, A Σ Aᵀ) || N(other_mean, diag e^(2 other_log_std))) with A = I + v rᵀ and Σ = diag e^(2 log_std), (n).

    Without any matrix, by the determinant 1 + v·r of A (Watter et al. 2015, App. B.4, whose logarithm is here that of
    its absolute value: A may turn the space over).

    :param mean: (n, d), as all others
    """
    variance, precision = (2 * log_std).exp(), (-2 * other_log_std).exp()
    trace = (variance * (1 + 2 * v * r) * precision).sum(-1)
    trace = trace + (v.square() * precision).sum(-1) * (r.square() * variance).sum(-1)
    log_determinant = 2 * (log_std.sum(-1) + (1 + (v * r).sum(-1)).abs().log())
    return _kl(trace, (other_mean - mean).square() * precision, other_log_std, log_determinant)


def _kl(trace: th.Tensor, distances: th.Tensor, other_log_std: th.Tensor, log_determinant: th.Tensor) -> th.Tensor:
    d = other_log_std.shape[-1]
    return 0.5 * (trace + distances.sum(-1) - d + 2 * other_log_std.sum(-1) - log_determinant)


def kl_to_standard(mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """KL(N(mean, diag e^(2 log_std)) || N(0, I)), (...), of (..., d)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)


def normal_log_density(x: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """ln N(x; mean, diag e^(2 log_std)), (...), of (..., d)."""
    standardized = (x - mean) * (-log_std).exp()
    return -(0.5 * standardized.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


def standard_normal_log_density(z: th.Tensor) -> th.Tensor:
    """ln N(z; 0, I), summed over the last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
