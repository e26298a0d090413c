"""The proposal that data is contrasted with: a sampler, or its mixture with a broad Gaussian."""

import math
from typing import Protocol

import torch as th
from torch.distributions import Distribution


class DensityWithSamples(Protocol):
    """A distribution that can be sampled and evaluated."""

    def log_prob(self, x: th.Tensor) -> th.Tensor:
        """Return ln q, (n,), at points (n, dim), without gradient."""

    def sample(self, n: int) -> th.Tensor:
        """Return n samples, (n, dim), without gradient."""


class DefensiveMixture:
    """The mixture (1 - w) q + w b of a sampler q and a broad b, which covers what q misses (Hesterberg 1995).

    Samples are stratified: of n samples, round(w n) come from b.

    :param sampler: q.
    :param broad: b, a distribution of points (dim,).
    :param weight: w, in [0, 1).
    """

    def __init__(self, sampler: DensityWithSamples, broad: Distribution, weight: float) -> None:
        self.sampler, self.broad, self.weight = sampler, broad, weight

    def sample(self, n: int) -> th.Tensor:
        """Return n samples, (n, dim)."""
        n_broad = round(self.weight * n)
        return th.cat([self.sampler.sample(n - n_broad), self.broad.sample((n_broad,))])

    def log_prob(self, x: th.Tensor) -> th.Tensor:
        """Return the mixture's log-density, (n,), at points (n, dim)."""
        log_q = self.sampler.log_prob(x)
        if self.weight == 0:
            return log_q
        return th.logaddexp(log_q + math.log1p(-self.weight), self.broad.log_prob(x) + math.log(self.weight))
