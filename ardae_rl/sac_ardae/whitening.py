"""Coordinates in which the estimator sees the actions: an affine frame that the present policy itself gives."""

import math
from typing import NamedTuple

import torch as th

FRAMES = ("sigma_points", "centre", "none")


class Frame(NamedTuple):
    """x = origin + factor x̂, for each state."""

    origin: th.Tensor  # batch x 1 x dim, or batch x 1 x 1
    factor: th.Tensor | None = None  # lower triangular, batch x dim x dim; None for the identity

    def of_states(self, rows: th.Tensor) -> "Frame":
        """The frame of some of the states."""
        return Frame(self.origin[rows], None if self.factor is None else self.factor[rows])

    def to_local(self, x: th.Tensor) -> th.Tensor:
        """x̂ of points (batch, n, dim)."""
        centred = x - self.origin
        if self.factor is None:
            return centred
        return th.linalg.solve_triangular(self.factor, centred.mT, upper=False).mT

    def score_from_local(self, local_score: th.Tensor) -> th.Tensor:
        """∇_x ln p(x), given that of x̂."""
        if self.factor is None:
            return local_score
        return th.linalg.solve_triangular(self.factor.mT, local_score.mT, upper=True).mT

    def log_det(self) -> th.Tensor | float:
        """ln |dx / dx̂|, (batch, 1): to be subtracted from ln p(x̂)."""
        if self.factor is None:
            return 0.0
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)


def sigma_points(noise_dim: int, n_bases: int = 1) -> th.Tensor:
    """±sqrt(k) q_i with random orthonormal bases q: 2k noise vectors of each, with mean zero and covariance I exactly.

    They lie where most of N(0, I) does, at the distance sqrt(k) (unscented transform, Julier and Uhlmann 1997).

    :param noise_dim: k
    :param n_bases: how many; for samplers that are not linear, more of them see more
    """
    bases = [th.linalg.qr(th.randn(noise_dim, noise_dim))[0] for _ in range(n_bases)]
    return math.sqrt(noise_dim) * th.cat([sign * basis for basis in bases for sign in (1, -1)])


def sigma_point_frame(outputs: th.Tensor) -> Frame:
    """Mean and Cholesky factor of the covariance of a sampler's outputs at sigma points.

    Exact for a sampler that is linear in its noise, a deterministic function of state and weights for any other.
    In this frame a policy that is nearly Gaussian stays nearly standard normal while it moves: the estimator, which
    can only follow, then has no delay in location, scale and correlation. (With a delay there, policy and estimator
    chase each other in growing oscillations.)

    :param outputs: of the sampler, at the points from :func:`sigma_points`, (batch, n, dim)
    """
    origin = outputs.mean(1, keepdim=True)
    deviation = outputs - origin
    covariance = deviation.mT @ deviation / outputs.shape[1]
    # Against directions that the sampler does not fill
    jitter = 1e-4 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-8
    covariance = covariance + jitter[:, None, None] * th.eye(covariance.shape[-1], device=covariance.device)
    # Without its check: outputs that are not finite give a factor that is not, for the caller to name
    return Frame(origin, th.linalg.cholesky_ex(covariance).L)
