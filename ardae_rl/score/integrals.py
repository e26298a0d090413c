"""Densities from a trained energy or score: importance sampling of Z, and the I-MMSE integral over noise levels."""

import math
from collections.abc import Callable

import torch as th

from ardae_rl.common.compiled import normal_like

IMMSE_NOISE_RANGE = (0.02, 20.0)
"""Noise scales, in units of the samples' scale, outside which the I-MMSE integrand is negligible."""

ScoreFunction = Callable[[th.Tensor, th.Tensor], th.Tensor]


def importance_log_partition(
    log_density: Callable[[th.Tensor], th.Tensor], batch_shape: tuple[int, int, int], scale: float, like: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """Return ln Z = ln ∫ exp(-E) by importance sampling from N(0, scale² I) (Lim et al. 2020, App. G.2).

    :param log_density: Function that returns -E, (batch, n), at points (batch, n, dim).
    :param batch_shape: (batch, number of draws, dim).
    :param scale: Standard deviation of the proposal.
    :param like: Tensor with the device and dtype to use.
    :return: ln Z and the effective sample size of the draws, each (batch,).
    """
    _, n_draws, dim = batch_shape
    noise = th.randn(batch_shape, device=like.device, dtype=like.dtype)
    log_proposal = -0.5 * noise.square().sum(-1) - dim * (0.5 * math.log(2 * math.pi) + math.log(scale))
    log_weights = log_density(scale * noise) - log_proposal
    log_z = log_weights.logsumexp(-1) - math.log(n_draws)
    effective_size = (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()
    return log_z, effective_size


def immse_log_prob(score: ScoreFunction, z: th.Tensor, n_levels: int, n_noise_samples: int) -> th.Tensor:
    """Return ln p(z) from the denoising errors at all noise levels (the pointwise I-MMSE relation; Kong et al. 2023):

        -ln p(z) = -ln N(z; 0, I) + ∫ E_u[‖u + σ f(z + σu; σ)‖² - ‖u + σ g(z + σu; σ)‖²] d ln σ,

    with g the score of N(0, (1 + σ²) I). The Gaussian is a control variate: both errors use the same u, so that only
    their difference is sampled. The integral is a trapezoidal sum over a grid of ln σ.

    :param score: f at points (batch, n, dim) and noise scales (batch, n, 1).
    :param z: Standardized points, (batch, n, dim).
    :param n_levels: Number of noise levels, at least 2.
    :param n_noise_samples: Number of antithetic pairs of noise vectors per level.
    :return: Log-densities, (batch, n).
    """
    dim = z.shape[-1]
    low, high = IMMSE_NOISE_RANGE
    grid = th.linspace(math.log(low), math.log(high), n_levels, device=z.device, dtype=z.dtype)
    step = float(grid[1] - grid[0])
    integral = z.new_zeros(z.shape[:-1])
    for k, sigma in enumerate(grid.exp()):
        weight = step * (0.5 if k in (0, n_levels - 1) else 1.0) / (2 * n_noise_samples)
        for _ in range(n_noise_samples):
            u = normal_like(z)
            for signed in (u, -u):
                y = z + sigma * signed
                error = (signed + sigma * score(y, sigma.expand(*z.shape[:-1], 1))).square().sum(-1)
                reference = (signed - sigma * y / (1 + sigma**2)).square().sum(-1)
                integral = integral + weight * (error - reference)
    return -0.5 * (z.square().sum(-1) + dim * math.log(2 * math.pi)) - integral
