"""A triangular factor that makes standardized samples uncorrelated."""

import torch as th
from torch import nn

from ardae_rl.score.averages import RunningAverage

# Distance, in units of the expected one, beyond which samples count less: they would dominate an average of squares
_MAX_DISTANCE = 3.0
_RIDGE = 1e-9  # keeps the factor invertible if the samples do not fill all directions
_HORIZON = 100  # batches


class Decorrelation(nn.Module):
    """Linear map that makes residuals of unit scale uncorrelated: the inverse Cholesky factor of their correlation.

    The correlation is a running average over the batches, and the same in all contexts. Outlying residuals are shrunk
    towards zero, which preserves their directions (as in Huber's robust estimate of a covariance). Double precision
    resolves two variables that differ by only a thousandth of their scale.

    Example:

    >>> import torch as th
    >>> from ardae_rl.score.correlation import Decorrelation
    >>> decorrelation, normal = Decorrelation(dim=2), th.randn(1, 4096, 2)
    >>> residual = th.stack([normal[..., 0], 0.6 * normal[..., 0] + 0.8 * normal[..., 1]], dim=-1)
    >>> for _ in range(5):
    ...     decorrelation.update(residual)
    >>> (residual @ decorrelation.matrix.mT).flatten(0, 1).T.corrcoef().round(decimals=1).abs()
    tensor([[1., 0.],
            [0., 1.]])

    :param dim: Dimension of the samples.
    """

    covariance: th.Tensor  # of the weighted residuals
    matrix: th.Tensor  # lower triangular, (dim, dim)

    def __init__(self, dim: int):
        super().__init__()
        self.average = RunningAverage(_HORIZON)
        self.register_buffer("covariance", th.eye(dim, dtype=th.float64))
        self.register_buffer("matrix", th.eye(dim))

    @th.no_grad()
    def update(self, residual: th.Tensor) -> None:
        """Update the average with a batch.

        :param residual: Samples less their location, divided by their scale; (batch, n, dim).
        """
        residual = residual.flatten(0, 1)
        n, dim = residual.shape
        # At first, the identity counts as `dim` samples
        weight = self.average.next_weight().to(self.covariance.dtype).clamp(max=n / (n + dim))
        distance = (residual @ self.matrix.mT).square().mean(1, keepdim=True)
        robust = (residual * (_MAX_DISTANCE**2 / distance.clamp_min(_MAX_DISTANCE**2)).sqrt()).to(self.covariance.dtype)
        self.covariance.lerp_(robust.mT @ robust / n, weight)
        # The scale is known already; for heavy tails, the average of squares would overestimate it
        deviation = self.covariance.diagonal().sqrt() + 1e-12
        correlation = self.covariance / (deviation * deviation.unsqueeze(1))
        correlation.fill_diagonal_(1 + _RIDGE)
        identity = th.eye(dim, dtype=correlation.dtype, device=correlation.device)
        # cholesky_ex does not wait for the device to report an error
        factor = th.linalg.cholesky_ex(correlation).L
        self.matrix.copy_(th.linalg.solve_triangular(factor, identity, upper=False))
