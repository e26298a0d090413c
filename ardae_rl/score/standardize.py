"""Coordinates of unit scale and without correlation, z = M (x - location(context)) / scale(context)."""

import copy
import math
from typing import NamedTuple, cast

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.score.averages import RunningAverage
from ardae_rl.score.correlation import Decorrelation

_HIDDEN = 64  # units of each hidden layer


class Coordinates(NamedTuple):
    """Coordinates z = M (x - location) / scale of points in each context."""

    location: th.Tensor  # (batch, 1, dim) or (1, 1, 1)
    log_scale: th.Tensor  # in the same shape
    matrix: th.Tensor | None = None  # M, lower triangular, (dim, dim); None for the identity

    def scaled(self, x: th.Tensor) -> th.Tensor:
        """Return (x - location) / scale of points (batch, n, dim)."""
        return (x - self.location) * th.exp(-self.log_scale)

    def decorrelated(self, scaled: th.Tensor) -> th.Tensor:
        """Return z, given the result of :meth:`scaled`."""
        return scaled if self.matrix is None else scaled @ self.matrix.mT

    def to_local(self, x: th.Tensor) -> th.Tensor:
        """Return the coordinates z of points x, both (batch, n, dim)."""
        return self.decorrelated(self.scaled(x))

    def score_from_local(self, local_score: th.Tensor) -> th.Tensor:
        """Return the score with respect to x, given that with respect to z, both (batch, n, dim)."""
        scaled_score = local_score if self.matrix is None else local_score @ self.matrix
        return scaled_score * th.exp(-self.log_scale)

    def log_det(self, dim: int) -> th.Tensor:
        """Return ln |dz / dx| = ln p(x) - ln p(z), (batch, 1) or (1, 1).

        :param dim: Dimension of x.
        """
        log_det = -self.log_scale.expand(*self.log_scale.shape[:2], dim).sum(-1)
        return log_det if self.matrix is None else log_det + self.matrix.diagonal().log().sum()


class ContextNormalizer(nn.Module):
    """Normalization of contexts by their running mean and standard deviation, so that they may be raw observations.

    Normalized contexts are clipped to [-10, 10].

    :param context_dim: Dimension of the context.
    """

    mean: th.Tensor
    variance: th.Tensor

    def __init__(self, context_dim: int):
        super().__init__()
        # A long horizon, because each change of the coordinates is noise to the networks that use them
        self.average = RunningAverage(horizon=10_000)
        self.register_buffer("mean", th.zeros(context_dim))
        self.register_buffer("variance", th.ones(context_dim))

    def update(self, context: th.Tensor) -> None:
        """Update mean and variance with contexts (batch, context_dim)."""
        weight = self.average.next_weight()
        shift = context.mean(0) - self.mean
        spread = context.var(0, unbiased=False) + (1 - weight) * shift.square()
        self.mean += weight * shift
        self.variance += weight * (spread - self.variance)

    def forward(self, context: th.Tensor) -> th.Tensor:
        return ((context - self.mean) / (self.variance.sqrt() + 1e-6)).clamp(-10, 10)


class LearnedStandardizer(nn.Module):
    """Location, scale and correlation of p(x | context), learned from the samples that train the score.

    There are two stages. Recursive least squares on (context, 1) with exponential forgetting gives the linear part of
    the location immediately and without the jitter of a gradient optimizer. This matters if the location varies by far
    more than the scale, because it must still be known to a fraction of the scale. A small network gives the nonlinear
    part, in units of the first stage's residual, and the log scale. Queries use a slow average of this network, because
    the score network has to adapt to every change of these coordinates. A triangular factor then decorrelates the
    residuals of unit scale, by a running correlation that is the same in all contexts
    (:class:`~ardae_rl.score.correlation.Decorrelation`).

    The result is modeled relative to N(0, I), so the density has Gaussian tails, whatever the samples' tails are.

    :param dim: Dimension of x.
    :param context_dim: Dimension of the context; 0 for none.
    """

    weights: th.Tensor  # of the linear stage, (context_dim + 1, dim)
    moments: th.Tensor  # second moments of (context, 1), a square matrix
    cross_moments: th.Tensor  # of (context, 1) and x, (context_dim + 1, dim)
    residual_variance: th.Tensor  # of the linear stage, (dim,)

    def __init__(self, dim: int, context_dim: int):
        super().__init__()
        n_features = context_dim + 1
        # At least as many batches as there are coefficients to fit
        self.average = RunningAverage(horizon=max(100, n_features))
        self.normalizer = ContextNormalizer(context_dim)
        # Double precision: raw contexts may have means far from zero and nearly dependent entries
        self.register_buffer("moments", th.eye(n_features, dtype=th.float64))
        self.register_buffer("cross_moments", th.zeros(n_features, dim, dtype=th.float64))
        self.register_buffer("weights", th.zeros(n_features, dim))
        self.register_buffer("residual_variance", th.ones(dim))
        self.network = nn.Sequential(
            # Without a context, the input is the constant 1
            nn.Linear(max(context_dim, 1), _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.SiLU(),
            nn.Linear(_HIDDEN, 2 * dim),
        )
        output_layer = cast(nn.Linear, self.network[-1])
        nn.init.zeros_(output_layer.weight)
        nn.init.zeros_(output_layer.bias)
        self.slow_network = copy.deepcopy(self.network).requires_grad_(False)
        self.decorrelation = Decorrelation(dim) if dim > 1 else None

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that :meth:`loss` trains."""
        return list(self.network.parameters())

    @th.no_grad()
    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        """Update everything that is not learned by gradients; call it once per batch, before :meth:`loss`.

        :param samples: Samples, (batch, n, dim).
        :param context: Contexts, (batch, context_dim).
        """
        weight = self.average.next_weight()
        if context.shape[1] > 0:
            self.normalizer.update(context)
        features = _with_one(context)
        batch_size = len(features)
        precise = features.to(self.moments.dtype)
        precise_weight = weight.to(self.moments.dtype)
        self.moments.lerp_(precise.t() @ precise / batch_size, precise_weight)
        self.cross_moments.lerp_(precise.t() @ samples.mean(1).to(precise.dtype) / batch_size, precise_weight)
        ridge = th.diag(1e-8 * self.moments.diagonal() + 1e-12)
        # solve() checks for errors, which makes the host wait for the device
        self.weights.copy_(th.linalg.solve_ex(self.moments + ridge, self.cross_moments).result)
        residual = samples - (features @ self.weights).unsqueeze(1)
        self.residual_variance.lerp_(residual.square().mean((0, 1)), weight)
        for slow, fast in zip(self.slow_network.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(fast, weight)

    def loss(self, samples: th.Tensor, context: th.Tensor) -> th.Tensor:
        """Return the loss of a robust regression of location and log scale; the scale includes the location's error.

        The Gaussian likelihood would fit both at once, but its gradient explodes if the samples are much wider than the
        current scale.

        :param samples: Samples, (batch, n, dim).
        :param context: Contexts, (batch, context_dim).
        """
        location, log_scale = self._location_log_scale(context, self.network)
        residual = samples - location.unsqueeze(1)
        standardized = residual / log_scale.detach().exp().unsqueeze(1)
        n = samples.shape[1]
        # E[ln(chi²_n / n)] is about -1/n: without the correction, few samples bias the scale low
        target = 0.5 * (residual.detach().square().mean(1) + 1e-12).log() + 0.5 / n
        location_loss = F.huber_loss(standardized, th.zeros_like(standardized), delta=2.0)
        return location_loss + F.huber_loss(log_scale, target)

    def normalize_context(self, context: th.Tensor) -> th.Tensor:
        """Return contexts of about unit scale."""
        return self.normalizer(context)

    def forward(self, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return location and log scale, each (batch, 1, dim), without gradient."""
        with th.no_grad():
            location, log_scale = self._location_log_scale(context, self.slow_network)
        return location.unsqueeze(1), log_scale.unsqueeze(1)

    def coordinates(self, context: th.Tensor) -> Coordinates:
        """Return the coordinates of points in these contexts."""
        location, log_scale = self(context)
        return Coordinates(location, log_scale, None if self.decorrelation is None else self.decorrelation.matrix)

    def to_local(self, samples: th.Tensor, context: th.Tensor) -> th.Tensor:
        """Return the coordinates z of training samples, and update the correlation with them."""
        coordinates = self.coordinates(context)
        scaled = coordinates.scaled(samples)
        if self.decorrelation is not None:
            self.decorrelation.update(scaled)
        return coordinates.decorrelated(scaled)

    def _location_log_scale(self, context: th.Tensor, network: nn.Module) -> tuple[th.Tensor, th.Tensor]:
        residual_scale = self.residual_variance.sqrt() + 1e-8
        inputs = self.normalizer(context) if context.shape[1] else context.new_ones(len(context), 1)
        location, log_scale = network(inputs).chunk(2, dim=-1)
        # A smooth bound, because a hard one has no gradient beyond it
        log_scale = 6 * th.tanh(log_scale / 6)
        location = _with_one(context) @ self.weights + residual_scale * location
        return location, residual_scale.log() + log_scale


class FixedStandardizer(nn.Module):
    """Multiplication by a constant, for samples of known scale.

    :param input_scale: Factor by which samples are multiplied.
    :param context_dim: Dimension of the contexts that are normalized; 0 leaves contexts as they are.
    """

    def __init__(self, input_scale: float, context_dim: int = 0):
        super().__init__()
        self.input_scale = input_scale
        self.normalizer = ContextNormalizer(context_dim) if context_dim else None

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return nothing: there is nothing to learn."""
        return []

    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        """Update the normalization of contexts (batch, context_dim)."""
        if self.normalizer is not None:
            self.normalizer.update(context)

    def loss(self, samples: th.Tensor, context: th.Tensor) -> None:
        """Return no loss: there is nothing to learn."""
        return None

    def normalize_context(self, context: th.Tensor) -> th.Tensor:
        """Return contexts of about unit scale, or as they are if ``context_dim`` is 0."""
        return context if self.normalizer is None else self.normalizer(context)

    def forward(self, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return the location, 0, and the log scale, each (1, 1, 1)."""
        zero = context.new_zeros(1, 1, 1)
        return zero, zero - math.log(self.input_scale)

    def coordinates(self, context: th.Tensor) -> Coordinates:
        """Return the coordinates of points in these contexts."""
        return Coordinates(*self(context))

    def to_local(self, samples: th.Tensor, context: th.Tensor) -> th.Tensor:
        """Return the coordinates z of samples."""
        return self.coordinates(context).to_local(samples)


def _with_one(context: th.Tensor) -> th.Tensor:
    return th.cat([context, context.new_ones(len(context), 1)], dim=1)
