"""Gaussian proposals for importance sampling of p(z|x): with a posterior's moments, or fitted to the target itself."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch as th

LogJoint = Callable[[th.Tensor, th.Tensor], th.Tensor]  # of an image (n_pixels,) and a latent (dim,); a scalar
# In 32 dimensions, a wider component would hardly overlap with the target
_DEFENSIVE_WEIGHT, _DEFENSIVE_SCALE = 0.2, 1.15


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
        return self.from_local(local), self.log_prob_local(local)

    def from_local(self, local: th.Tensor) -> th.Tensor:
        """Return latents from points in the coordinates in which N(m, Σ) is N(0, I), both (batch, n, dim)."""
        return self.mean.unsqueeze(1) + local @ self.factor.mT

    def to_local(self, z: th.Tensor) -> th.Tensor:
        """Return the inverse of :meth:`from_local`."""
        return th.linalg.solve_triangular(self.factor, (z - self.mean.unsqueeze(1)).mT, upper=False).mT

    def log_prob_local(self, local: th.Tensor) -> th.Tensor:
        """Return the log density of latents, given as points in the coordinates of :meth:`from_local`, (batch, n)."""
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        return self._log_density(local) - log_det

    def _log_density(self, local: th.Tensor) -> th.Tensor:
        dim, squared = local.shape[-1], local.square().sum(-1)
        narrow = -0.5 * squared
        if self.defensive_weight > 0:
            wide = -0.5 * squared / self.defensive_scale**2 - dim * math.log(self.defensive_scale)
            weight = self.defensive_weight
            narrow = th.logaddexp(narrow + math.log1p(-weight), wide + math.log(weight))
        return narrow - 0.5 * dim * math.log(2 * math.pi)


def moment_proposal(samples: th.Tensor) -> Proposal:
    """Return the Gaussian with the moments of posterior samples (batch, n, dim), n > dim (Lim et al., App. F.3)."""
    mean = samples.mean(1, keepdim=True)
    covariance = (samples - mean).mT @ (samples - mean) / (samples.shape[1] - 1)
    return Proposal(mean.squeeze(1), cholesky(covariance))


def laplace_proposal(log_joint: LogJoint, x: th.Tensor, start: th.Tensor, n_steps: int = 5) -> Proposal:
    """Return the Laplace approximation of p(z|x), from Newton steps that are halved until they ascend.

    Networks of rectifiers are linear between their kinks, so all curvature comes from prior and likelihood. For other
    networks, curvatures below the prior's, which is 1, are raised to it.

    :param log_joint: ln p(x, z) of one image and one latent.
    :param x: Images, (batch, n_pixels).
    :param start: First latents, (batch, dim).
    :param n_steps: Number of Newton steps.
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
    """Return the Cholesky factors of covariances (batch, dim, dim), with jitter on their diagonals."""
    jitter = 1e-5 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-10
    identity = th.eye(covariance.shape[-1], device=covariance.device)
    return th.linalg.cholesky(covariance + jitter[:, None, None] * identity)
