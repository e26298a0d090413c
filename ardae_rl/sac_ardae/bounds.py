"""Bounds on a policy's entropy that need no estimator, and a check of the estimate against one of them."""

import math
import warnings
from typing import NamedTuple

import torch as th


class EntropyBounds(NamedTuple):
    """Bounds on the entropy in each state, (batch,) each, which hold in expectation over the samples."""

    lower: th.Tensor
    """From a mixture of Gaussians (the output noise) around samples of g, with the sample that generated the action."""
    upper: th.Tensor
    """From the mixture without that sample."""
    gaussian: th.Tensor
    """Upper bound: the entropy of the normal distribution with the policy's mean and covariance."""


def gaussian_entropy(dim: int, variance: float) -> float:
    """Return the entropy of N(0, variance I) in ``dim`` dimensions."""
    return 0.5 * dim * math.log(2 * math.pi * math.e * variance)


def mixture_log_densities(means: th.Tensor, points: th.Tensor, sigma: float) -> tuple[th.Tensor, th.Tensor]:
    """Return log-densities of a mixture of N(mean, σ² I) at points generated from its means, (batch, n) each.

    The first includes each point's own mean, the second does not. If the means are samples of any distribution and the
    points are those plus noise, the expectation of the log-density ln p_σ at the points lies between the second and the
    first (Yin and Zhou 2018): the first overweights the mean that generated the point, and the second is a lower bound
    by Jensen's inequality.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.bounds import mixture_log_densities
    >>> means = th.randn(1, 1000, 1, generator=th.Generator().manual_seed(0))
    >>> points = means + 0.5 * th.randn(means.shape, generator=th.Generator().manual_seed(1))
    >>> with_own, without_own = mixture_log_densities(means, points, 0.5)
    >>> exact = th.distributions.Normal(0.0, 1.25**0.5).log_prob(points).mean()
    >>> bool(without_own.mean() < exact < with_own.mean())
    True

    :param means: (batch, m, dim), m at least 2.
    :param points: (batch, n, dim) with n at most m, each generated from the mean with the same index.
    :param sigma: Standard deviation of the noise.
    """
    return _mixtures(_log_components(means, points, sigma))


def extrapolated_log_density(means: th.Tensor, points: th.Tensor, sigma: float) -> tuple[th.Tensor, th.Tensor]:
    """Return estimates of ln p_σ at points generated from the means, and the gap between its bounds, (batch, n) each.

    To first order in 1 / m, the bounds of :func:`mixture_log_densities` are off by the same amount in opposite
    directions, so their midpoint is more accurate than either. The midpoint's error falls about as 1 / m as well, which
    Richardson extrapolation exploits: the estimate is twice the midpoint for all means, minus that for the first half.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.bounds import extrapolated_log_density
    >>> means = th.randn(20, 1000, 3, generator=th.Generator().manual_seed(0))
    >>> points = means[:, :50] + 0.5 * th.randn(20, 50, 3, generator=th.Generator().manual_seed(1))
    >>> exact = th.distributions.Normal(0.0, 1.25**0.5).log_prob(points).sum(-1)
    >>> estimate, gap = extrapolated_log_density(means, points, 0.5)
    >>> bool((estimate - exact).mean().abs() < 0.02), round(gap.mean().item(), 1)
    (True, 0.1)

    :param means: (batch, m, dim).
    :param points: (batch, n, dim) with n at most m / 2, each generated from the mean with the same index.
    :param sigma: Standard deviation of the noise.
    """
    logs = _log_components(means, points, sigma)
    (with_own, without_own), half = _mixtures(logs), _mixtures(logs[..., : means.shape[1] // 2])
    return with_own + without_own - 0.5 * (half[0] + half[1]), with_own - without_own


def _log_components(means: th.Tensor, points: th.Tensor, sigma: float) -> th.Tensor:
    """Return the log-density of each component at each point, (batch, n, m)."""
    log_scale = 0.5 * means.shape[-1] * math.log(2 * math.pi * sigma**2)
    return -0.5 / sigma**2 * th.cdist(points, means).square() - log_scale


def _mixtures(logs: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the log-densities of the mixtures with and without each point's own component, (batch, n) each."""
    n, n_means = logs.shape[1:]
    own = th.eye(n, n_means, dtype=th.bool, device=logs.device)
    others = logs.masked_fill(own, -th.inf)
    return logs.logsumexp(-1) - math.log(n_means), others.logsumexp(-1) - math.log(n_means - 1)


class EntropyCheck:
    """Warns once if estimates of the entropy exceed its Gaussian bound on average, which no true entropy does.

    :param horizon: Number of gradient steps over which the excess is averaged.
    :param tolerance: Excess that is not worth a warning, in nats.
    """

    def __init__(self, horizon: int = 1000, tolerance: float = 0.1):
        self.horizon, self.tolerance = horizon, tolerance
        self._sum, self._count, self._has_warned = 0.0, 0, False

    def update(self, excess: float, n_steps: int) -> None:
        """Add the mean of estimate minus bound over some gradient steps.

        :param excess: Estimate minus bound, in nats.
        :param n_steps: Number of gradient steps.
        """
        self._sum += excess * n_steps
        self._count += n_steps
        if self._count < self.horizon:
            return
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if mean > self.tolerance and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"The estimated entropy is {mean:.2f} nats above that of a normal distribution with the policy's "
                "covariance, which no policy's entropy can exceed. The score estimator does not keep up with the "
                "policy: try a larger `n_score_updates`, or a smaller `learning_rate`.",
                stacklevel=2,
            )
