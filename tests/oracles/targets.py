"""Conditional distributions with known score and density, for experiments and tests of the score estimator."""

import math

import torch as th

CONTEXT_DIM = 5
MODE_WEIGHTS = {1: (1.0,), 3: (0.5, 0.3, 0.2), 4: (0.4, 0.3, 0.2, 0.1)}
MEDIAN_SCALE = 0.02
MODE_DEVIATION = 0.25  # standard deviation of each mode on a circle of radius 1
NARROW_AXIS = 0.4  # standard deviation of every other axis of the single mode; that of the rest is 1
RADIANS_PER_UPDATE = 1e-3


class Target:
    """A Gaussian mixture whose location and scale depend on a standard normal context of 5 numbers.

    The location is linear in the context and has a standard deviation of about 1, far more than the scale, which varies
    over a decade around 0.02. In units of the scale, a single mode is anisotropic; three or four modes of unequal
    weight lie on a circle, 5 to 7 of their standard deviations apart. All shapes rotate slowly with ``update``.

    :param dim: Dimension of x, at least 2.
    :param n_modes: 1, 3 or 4.
    :param seed: Seed of the map from context to location and scale, and of the axes.
    :param radians_per_update: Speed of the rotation; 0 for a static shape.
    """

    def __init__(self, dim: int, n_modes: int, seed: int = 0, radians_per_update: float = RADIANS_PER_UPDATE):
        generator = th.Generator().manual_seed(seed)
        self.dim, self.n_modes, self.radians_per_update = dim, n_modes, radians_per_update
        self.location_weights = th.randn(CONTEXT_DIM, dim, generator=generator) / math.sqrt(CONTEXT_DIM)
        self.scale_weights = th.randn(CONTEXT_DIM, generator=generator) / math.sqrt(CONTEXT_DIM)
        self.axes, _ = th.linalg.qr(th.randn(dim, dim, generator=generator))
        self.mode_weights = th.tensor(MODE_WEIGHTS[n_modes])

    def contexts(self, n: int, generator: th.Generator) -> th.Tensor:
        return th.randn(n, CONTEXT_DIM, generator=generator)

    def location_scale(self, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return location (batch, 1, dim) and scale (batch, 1, 1)."""
        scale = MEDIAN_SCALE * 10 ** (0.5 * th.sin(context @ self.scale_weights))
        return (context @ self.location_weights).unsqueeze(1), scale[:, None, None]

    def sample(self, context: th.Tensor, n: int, update: int, generator: th.Generator) -> th.Tensor:
        """Return samples of the distribution at this update, (batch, n, dim)."""
        batch = len(context)
        modes = th.multinomial(self.mode_weights.expand(batch, -1), n, replacement=True, generator=generator)
        noise = th.randn(batch, n, self.dim, generator=generator)
        location, scale = self.location_scale(context)
        return location + scale * (self._means(update)[modes] + noise @ self._factor(update).t())

    def log_prob_and_score(self, x: th.Tensor, context: th.Tensor, update: int) -> tuple[th.Tensor, th.Tensor]:
        """Return ln p (batch, n) and ∇_x ln p (batch, n, dim) at points (batch, n, dim)."""
        location, scale = self.location_scale(context)
        factor = self._factor(update)
        offset = ((x - location) / scale).unsqueeze(-2) - self._means(update)  # (batch, n, modes, dim)
        weighted = offset @ th.linalg.inv(factor @ factor.t())
        log_modes = self.mode_weights.log() - 0.5 * (weighted * offset).sum(-1)
        log_volume = 0.5 * self.dim * math.log(2 * math.pi) + th.linalg.slogdet(factor)[1]
        log_prob = log_modes.logsumexp(-1) - log_volume - self.dim * scale.log().squeeze(-1)
        score = -(log_modes.softmax(-1).unsqueeze(-1) * weighted).sum(-2) / scale
        return log_prob, score

    def _means(self, update: int) -> th.Tensor:
        """Return the modes' means, (modes, dim), in units of the scale."""
        means = th.zeros(self.n_modes, self.dim)
        if self.n_modes > 1:
            angle = update * self.radians_per_update + th.arange(self.n_modes) * (2 * math.pi / self.n_modes)
            means[:, 0], means[:, 1] = angle.cos(), angle.sin()
        return means @ self.axes.t()

    def _factor(self, update: int) -> th.Tensor:
        """Return L of each mode's covariance L Lᵀ, in units of the scale."""
        if self.n_modes > 1:
            return MODE_DEVIATION * th.eye(self.dim)
        angle = th.tensor(update * self.radians_per_update)
        turn = th.eye(self.dim)
        turn[0, 0] = turn[1, 1] = angle.cos()
        turn[1, 0], turn[0, 1] = angle.sin(), -angle.sin()
        deviations = th.ones(self.dim)
        deviations[::2] = NARROW_AXIS
        return (self.axes @ turn) * deviations
