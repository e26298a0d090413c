"""Coordinates in which the estimator sees the actions: an affine frame for each state, set by the current policy."""

import math
from typing import NamedTuple

import torch as th

from ardae_rl.sac_ardae.moments import Moments

FRAMES = ("moments", "sigma_points", "center", "none")
WHITENING_FRAMES = ("moments", "sigma_points")


class AffineFrame(NamedTuple):
    """Affine coordinates x̂ of each state, x = origin + factor x̂."""

    origin: th.Tensor  # (batch, 1, dim) or (batch, 1, 1)
    factor: th.Tensor | None = None  # lower triangular, (batch, dim, dim); None for the identity

    def select(self, rows: th.Tensor | slice) -> "AffineFrame":
        """Return the frames of some of the states."""
        return AffineFrame(self.origin[rows], None if self.factor is None else self.factor[rows])

    def to_local(self, x: th.Tensor) -> th.Tensor:
        """Return the local coordinates x̂ of points x, both of shape (batch, n, dim)."""
        centered = x - self.origin
        if self.factor is None:
            return centered
        return th.linalg.solve_triangular(self.factor, centered.mT, upper=False).mT

    def from_local(self, local: th.Tensor) -> th.Tensor:
        """Return the points x with local coordinates x̂, both of shape (batch, n, dim)."""
        return self.origin + (local if self.factor is None else local @ self.factor.mT)

    def score_from_local(self, local_score: th.Tensor) -> th.Tensor:
        """Return ∇_x ln p(x) given ∇_x̂ ln p(x̂), both of shape (batch, n, dim)."""
        if self.factor is None:
            return local_score
        return th.linalg.solve_triangular(self.factor.mT, local_score.mT, upper=True).mT

    def log_det(self) -> th.Tensor | float:
        """Return ln |dx / dx̂| = ln p(x̂) - ln p(x), shape (batch, 1); the number 0 for the identity."""
        if self.factor is None:
            return 0.0
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)


def sigma_points(noise_dim: int, n_bases: int = 1) -> th.Tensor:
    """Return noise vectors ±sqrt(k) q_i for random orthonormal bases q, shape (2 k n_bases, k).

    Their mean is zero and their covariance the identity, exactly. Their norm is sqrt(k), like that of most of the mass
    of N(0, I) (unscented transform, Julier and Uhlmann 1997).

    :param noise_dim: Dimension k of the noise.
    :param n_bases: Number of bases. More of them describe a nonlinear sampler better.
    """
    bases = [th.linalg.qr(th.randn(noise_dim, noise_dim))[0] for _ in range(n_bases)]
    return math.sqrt(noise_dim) * th.cat([sign * basis for basis in bases for sign in (1, -1)])


def sigma_point_moments(outputs: th.Tensor) -> Moments:
    """Return mean and covariance of a sampler's outputs at sigma points.

    They are exact for a sampler that is linear in its noise. For any other, they are approximate, but a deterministic
    function of state and weights.

    :param outputs: Outputs for the noise from :func:`sigma_points`, shape (batch, n, dim).
    """
    mean = outputs.mean(1, keepdim=True)
    deviation = outputs - mean
    return Moments(mean.squeeze(1), deviation.mT @ deviation / outputs.shape[1])


def whitening_frame(moments: Moments) -> AffineFrame:
    """Return the frame whose origin is the mean and whose factor is the Cholesky factor of the covariance.

    In this frame, a nearly Gaussian policy stays nearly standard normal while it moves, so the estimator does not lag
    behind in location, scale and correlation. (With such a lag, policy and estimator chase each other in growing
    oscillations.)

    :param moments: Mean and covariance of each state's actions before tanh.
    """
    origin, covariance = moments.mean.unsqueeze(1), moments.covariance
    # Keeps the factor invertible where the sampler does not fill all directions
    jitter = 1e-4 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-8
    covariance = covariance + jitter[:, None, None] * th.eye(covariance.shape[-1], device=covariance.device)
    # cholesky_ex does not raise: if outputs are not finite, neither is the factor, and the metrics show it
    return AffineFrame(origin, th.linalg.cholesky_ex(covariance).L)
