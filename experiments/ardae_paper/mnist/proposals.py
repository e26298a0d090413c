"""Gaussian proposals for importance sampling of p(z|x): by moments of a posterior, and fitted to the target itself."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch as th

LogJoint = Callable[[th.Tensor], th.Tensor]  # maps latents (batch, n, dim) to ln p(x, z), (batch, n)
LogJointOfOne = Callable[[th.Tensor, th.Tensor], th.Tensor]
_DEFENSIVE_WEIGHT, _DEFENSIVE_SCALE = 0.2, 1.3  # in 32 dimensions, a wider component has hardly any mass in common


class Proposal(NamedTuple):
    """A mixture of N(m, Σ) and, with a small weight, N(m, k² Σ), for each image.

    The wide component bounds the importance weights where the tails of N(m, Σ) are too light.

    :param mean: m, (batch, dim).
    :param factor: Cholesky factor of Σ, (batch, dim, dim).
    :param defensive_weight: Weight of the wide component; 0 for a Gaussian, as in the paper.
    :param defensive_scale: k.
    """

    mean: th.Tensor
    factor: th.Tensor
    defensive_weight: float = 0.0
    defensive_scale: float = _DEFENSIVE_SCALE

    def sample(self, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Return ``n`` draws per image, (batch, n, dim), and their log densities, (batch, n)."""
        batch_size, dim = self.mean.shape
        noise = th.randn(batch_size, n, dim, device=self.mean.device)
        wide = th.rand(batch_size, n, 1, device=self.mean.device) < self.defensive_weight
        local = th.where(wide, self.defensive_scale * noise, noise)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return self.mean.unsqueeze(1) + local @ self.factor.mT, self._log_density(local) - log_det

    def _log_density(self, local: th.Tensor) -> th.Tensor:
        dim, squared = local.shape[-1], local.square().sum(-1)
        narrow = -0.5 * squared
        if self.defensive_weight > 0:
            wide = -0.5 * squared / self.defensive_scale**2 - dim * math.log(self.defensive_scale)
            weight = self.defensive_weight
            narrow = th.logaddexp(narrow + math.log1p(-weight), wide + math.log(weight))
        return narrow - 0.5 * dim * math.log(2 * math.pi)


def moment_proposal(samples: th.Tensor, defensive_weight: float = 0.0) -> Proposal:
    """Return the Gaussian with the moments of posterior samples (batch, n, dim), n > dim (Lim et al. 2020, App. F.3)."""
    mean = samples.mean(1, keepdim=True)
    covariance = (samples - mean).mT @ (samples - mean) / (samples.shape[1] - 1)
    return Proposal(mean.squeeze(1), cholesky(covariance), defensive_weight)


def adapted_proposal(
    proposal: Proposal, log_joint: LogJoint, n_draws: int, n_rounds: int = 3, min_sample_size: float = 2.0
) -> Proposal:
    """Return a proposal whose moments are those of p(z|x), estimated by importance sampling from the proposal before.

    Weights are tempered until their effective sample size is at least ``min_sample_size`` times the dimension, so that
    the covariance has full rank. The final proposal is defensive. (Adaptive importance sampling, as in population Monte
    Carlo: Cappé et al. 2004.)

    :param proposal: The first proposal.
    :param log_joint: ln p(x, z).
    :param n_draws: Number of draws per image and round.
    :param n_rounds: Number of rounds.
    :param min_sample_size: Smallest effective sample size, in units of the dimension.
    """
    for _ in range(n_rounds):
        z, log_q = Proposal(proposal.mean, proposal.factor, _DEFENSIVE_WEIGHT).sample(n_draws)
        weights = _tempered_weights(log_joint(z) - log_q, min_sample_size * z.shape[-1]).unsqueeze(-1)
        mean = (weights * z).sum(1, keepdim=True)
        deviation = z - mean
        covariance = (weights * deviation).mT @ deviation
        # Few effective draws: their covariance is noisy, the one before is a prior of dim draws
        share = _sample_size(weights.squeeze(-1)) / (_sample_size(weights.squeeze(-1)) + z.shape[-1])
        share = share[:, None, None]
        covariance = share * covariance + (1 - share) * (proposal.factor @ proposal.factor.mT)
        proposal = Proposal(mean.squeeze(1), cholesky(covariance))
    return Proposal(proposal.mean, proposal.factor, _DEFENSIVE_WEIGHT)


def laplace_proposal(log_joint: LogJointOfOne, x: th.Tensor, start: th.Tensor, n_steps: int = 10) -> Proposal:
    """Return the Laplace approximation of p(z|x), from Newton steps that are halved until they ascend.

    Networks of rectifiers are linear between their kinks, so that the curvature is that of prior and likelihood. For
    others, directions of smaller curvature than the prior's, 1, get the prior's.

    :param log_joint: Maps an image (n_pixels,) and a latent (dim,) to ln p(x, z), a scalar.
    :param x: Images, (batch, n_pixels).
    :param start: First latents, (batch, dim).
    """
    gradient = th.func.vmap(th.func.grad(log_joint, argnums=1))
    hessian = th.func.vmap(th.func.hessian(log_joint, argnums=1), chunk_size=50)
    value = th.func.vmap(log_joint)
    z, current = start, value(x, start)
    for _ in range(n_steps):
        factor = _precision_factor(-hessian(x, z))
        step = th.cholesky_solve(gradient(x, z).unsqueeze(-1), factor).squeeze(-1)
        size = th.ones_like(current)
        for _ in range(5):
            proposed = value(x, z + size.unsqueeze(-1) * step)
            size = th.where(proposed >= current, size, 0.5 * size)
        better = proposed > current
        z = th.where(better.unsqueeze(-1), z + size.unsqueeze(-1) * step, z)
        current = th.where(better, proposed, current)
    return Proposal(z, cholesky(th.cholesky_inverse(_precision_factor(-hessian(x, z)))), _DEFENSIVE_WEIGHT)


def _precision_factor(precision: th.Tensor) -> th.Tensor:
    values, vectors = th.linalg.eigh(0.5 * (precision + precision.mT))
    return th.linalg.cholesky((vectors * values.clamp_min(1.0).unsqueeze(-2)) @ vectors.mT)


def cholesky(covariance: th.Tensor) -> th.Tensor:
    """Return the Cholesky factors of covariances (batch, dim, dim), with a little added to their diagonals."""
    jitter = 1e-5 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-10
    identity = th.eye(covariance.shape[-1], device=covariance.device)
    return th.linalg.cholesky(covariance + jitter[:, None, None] * identity)


def _tempered_weights(log_weights: th.Tensor, min_sample_size: float) -> th.Tensor:
    """Return normalized weights w^t, (batch, n), with the largest t ≤ 1 of the wanted effective sample size."""
    target = min(min_sample_size, 0.5 * log_weights.shape[1])
    exponent = th.ones_like(log_weights[:, :1])
    low = th.zeros_like(exponent)
    high = 2 * exponent  # so that the first one tried is 1
    for _ in range(20):
        exponent = 0.5 * (low + high)
        enough = _sample_size((exponent * log_weights).softmax(1)).unsqueeze(1) >= target
        low, high = th.where(enough, exponent, low), th.where(enough, high, exponent)
        low, high = low.clamp(max=1), th.where(low >= 1, th.ones_like(high), high)
    return (low * log_weights).softmax(1)


def _sample_size(weights: th.Tensor) -> th.Tensor:
    """Return the effective sample sizes of normalized weights (batch, n)."""
    return 1 / weights.square().sum(1)
