"""Log-densities and Kullback-Leibler divergences of Gaussians."""

import math

import torch as th
from torch.nn import functional as F


def soft_clamp(x: th.Tensor, low: float, high: float = math.inf) -> th.Tensor:
    """Return x, kept above ``low`` and below ``high`` by softplus, so that its gradient never vanishes.

    A learned log standard deviation that crosses a hard bound would stay there. ``high`` itself may be exceeded by
    softplus(low - high). Reference: Chua et al. (2018), Deep reinforcement learning in a handful of trials, Appendix
    A.1, https://arxiv.org/abs/1805.12114.
    """
    if high < math.inf:
        x = high - F.softplus(high - x)
    return low + F.softplus(x - low)


def kl_to_diagonal(
    mean: th.Tensor,
    covariance: th.Tensor,
    other_mean: th.Tensor,
    other_log_std: th.Tensor,
    log_determinant: th.Tensor | None = None,
) -> th.Tensor:
    """Return KL(N(mean, covariance) || N(other_mean, diag e^(2 other_log_std))), shape (n,).

    :param mean: Shape (n, d).
    :param covariance: Positive definite, shape (n, d, d).
    :param other_mean: Shape (n, d).
    :param other_log_std: Shape (n, d).
    :param log_determinant: Log-determinant of the covariance, shape (n,). Pass it if it is known analytically and the
        covariance may be numerically singular, as after several linear maps.
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
    """Return KL(N(mean, A Σ Aᵀ) || N(other_mean, diag e^(2 other_log_std))), A = I + v rᵀ, Σ = diag e^(2 log_std).

    The result has shape (n,), all arguments (n, d). No matrix is built: the determinant of A is 1 + v·r (Watter et al.
    2015, App. B.4; with the logarithm of its absolute value, because A may reverse the orientation).
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
    """Return KL(N(mean, diag e^(2 log_std)) || N(0, I)), summed over the last dimension."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)


def normal_log_density(x: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Return ln N(x; mean, diag e^(2 log_std)), summed over the last dimension."""
    standardized = (x - mean) * (-log_std).exp()
    return -(0.5 * standardized.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


def standard_normal_log_density(z: th.Tensor) -> th.Tensor:
    """Return ln N(z; 0, I), summed over the last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
