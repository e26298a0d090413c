"""Coordinates of unit scale: z = (x - location(context)) / scale(context)."""

import copy
import math
from typing import cast

import torch as th
from torch import nn
from torch.nn import functional as F

# A running average remembers about a tenth of the batches seen, and no more than its horizon
_FASTEST = 10


class RunningAverage(nn.Module):
    """The weight of the newest batch in averages that start short and end exponential (a float count, for SB3)."""

    count: th.Tensor

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon
        self.register_buffer("count", th.zeros(()))

    def next_weight(self) -> th.Tensor:
        """1 for the first batch, then falling to 1/horizon."""
        weight = th.clamp(_FASTEST / (self.count + _FASTEST), min=1 / self.horizon)
        weight = th.where(self.count == 0, th.ones_like(weight), weight)
        self.count += 1
        return weight


class ContextNormalizer(nn.Module):
    """Running mean and standard deviation of the context, so that raw observations can be given."""

    mean: th.Tensor
    variance: th.Tensor

    def __init__(self, context_dim: int):
        super().__init__()
        # Long, because each move of the inputs' coordinates is noise to the networks behind
        self.average = RunningAverage(horizon=10_000)
        self.register_buffer("mean", th.zeros(context_dim))
        self.register_buffer("variance", th.ones(context_dim))

    def update(self, context: th.Tensor) -> None:
        """:param context: (batch, context_dim)"""
        weight = self.average.next_weight()
        shift = context.mean(0) - self.mean
        spread = context.var(0, unbiased=False) + (1 - weight) * shift.square()
        self.mean += weight * shift
        self.variance += weight * (spread - self.variance)

    def forward(self, context: th.Tensor) -> th.Tensor:
        return ((context - self.mean) / (self.variance.sqrt() + 1e-6)).clamp(-10, 10)


class LearnedStandardizer(nn.Module):
    """Location and scale of p(x | context), from the samples that train the score.

    Two stages. Recursive least squares on (context, 1) with exponential forgetting gives the location up to what is
    not linear, at once and without the jitter of a gradient optimiser: a location that moves by far more than the
    scale must be known to a fraction of the scale. A small network, whose output counts in units of the residual of
    the first stage, gives the rest, and the log scale. What is used is a slow average of that network, because the
    score network has to follow every move of these coordinates.

    :param dim: dimension of x
    :param context_dim: dimension of the context; 0 for none
    :param hidden: width of the network's two hidden layers
    """

    weights: th.Tensor  # of the linear stage, (context_dim + 1) x dim
    moments: th.Tensor  # second moments of (context, 1)
    cross_moments: th.Tensor
    residual_variance: th.Tensor

    def __init__(self, dim: int, context_dim: int, hidden: int = 64):
        super().__init__()
        n_features = context_dim + 1
        # Long enough for as many batches as there are coefficients to fit
        self.average = RunningAverage(horizon=max(100, n_features))
        self.normalizer = ContextNormalizer(context_dim)
        # Double precision: raw contexts may have means far from zero and nearly dependent entries
        self.register_buffer("moments", th.eye(n_features, dtype=th.float64))
        self.register_buffer("cross_moments", th.zeros(n_features, dim, dtype=th.float64))
        self.register_buffer("weights", th.zeros(n_features, dim))
        self.register_buffer("residual_variance", th.ones(dim))
        self.network = nn.Sequential(
            # Without a context, its input is the constant one
            nn.Linear(max(context_dim, 1), hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * dim),
        )
        output_layer = cast(nn.Linear, self.network[-1])
        nn.init.zeros_(output_layer.weight)
        nn.init.zeros_(output_layer.bias)
        self.slow_network = copy.deepcopy(self.network).requires_grad_(False)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    @th.no_grad()
    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        """Update everything that is not learned by gradient; once per batch, before :meth:`loss`.

        :param samples: (batch, n, dim)
        :param context: (batch, context_dim)
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
        # Without solve()'s check, for which the host would wait for the device
        self.weights.copy_(th.linalg.solve_ex(self.moments + ridge, self.cross_moments).result)
        residual = samples - (features @ self.weights).unsqueeze(1)
        self.residual_variance.lerp_(residual.square().mean((0, 1)), weight)
        for slow, fast in zip(self.slow_network.parameters(), self.network.parameters(), strict=True):
            slow.lerp_(fast, weight)

    def loss(self, samples: th.Tensor, context: th.Tensor) -> th.Tensor:
        """Robust regression of the location and of the log scale; the scale covers the location's own error.

        The Gaussian likelihood would do both at once, but its gradient explodes when the samples are much wider
        than the scale believes.
        """
        location, log_scale = self._location_log_scale(context, self.network)
        residual = samples - location.unsqueeze(1)
        standardized = residual / log_scale.detach().exp().unsqueeze(1)
        n = samples.shape[1]
        # E[ln(chi²_n / n)] is about -1/n: without it, few samples bias the scale low
        target = 0.5 * (residual.detach().square().mean(1) + 1e-12).log() + 0.5 / n
        location_loss = F.huber_loss(standardized, th.zeros_like(standardized), delta=2.0)
        return location_loss + F.huber_loss(log_scale, target)

    def normalize_context(self, context: th.Tensor) -> th.Tensor:
        return self.normalizer(context)

    def forward(self, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Location and log scale, each (batch, 1, dim), without gradient."""
        with th.no_grad():
            location, log_scale = self._location_log_scale(context, self.slow_network)
        return location.unsqueeze(1), log_scale.unsqueeze(1)

    def _location_log_scale(self, context: th.Tensor, network: nn.Module) -> tuple[th.Tensor, th.Tensor]:
        residual_scale = self.residual_variance.sqrt() + 1e-8
        inputs = self.normalizer(context) if context.shape[1] else context.new_ones(len(context), 1)
        location, log_scale = network(inputs).chunk(2, dim=-1)
        # A smooth bound: a hard one would have no gradient beyond it
        log_scale = 6 * th.tanh(log_scale / 6)
        location = _with_one(context) @ self.weights + residual_scale * location
        return location, residual_scale.log() + log_scale


class FixedStandardizer(nn.Module):
    """Multiplication by a constant: for samples whose scale is known.

    :param input_scale: what samples are multiplied by
    :param context_dim: dimension of a context to be normalised; 0 leaves contexts as they are
    """

    def __init__(self, input_scale: float, context_dim: int = 0):
        super().__init__()
        self.input_scale = input_scale
        self.normalizer = ContextNormalizer(context_dim) if context_dim else None

    def trainable_parameters(self) -> list[nn.Parameter]:
        return []

    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        if self.normalizer is not None:
            self.normalizer.update(context)

    def loss(self, samples: th.Tensor, context: th.Tensor) -> None:
        return None

    def normalize_context(self, context: th.Tensor) -> th.Tensor:
        return context if self.normalizer is None else self.normalizer(context)

    def forward(self, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        zero = context.new_zeros(1, 1, 1)
        return zero, zero - math.log(self.input_scale)


def _with_one(context: th.Tensor) -> th.Tensor:
    return th.cat([context, context.new_ones(len(context), 1)], dim=1)
