"""Normalising an energy after training: importance sampling, and the I-MMSE integral over noise levels."""

import math
from collections.abc import Callable

import torch as th

from ardae_rl.common.compiled import normal_like

# Noise scales, in units of the samples' scale, between which the I-MMSE integrand is not negligible
IMMSE_NOISE_RANGE = (0.02, 20.0)

ScoreFunction = Callable[[th.Tensor, th.Tensor], th.Tensor]


def importance_log_partition(
    log_density: Callable[[th.Tensor], th.Tensor], batch_shape: tuple[int, int, int], scale: float, like: th.Tensor
) -> tuple[th.Tensor, th.Tensor]:
    """ln Z = ln ∫ exp ψ by importance sampling from N(0, scale² I), by log-sum-exp (Lim et al. 2020, App. G.2).

    :param log_density: ψ at points (batch, n, dim), as (batch, n)
    :param batch_shape: (batch, number of draws, dim)
    :param scale: standard deviation of the proposal
    :param like: a tensor that gives device and dtype
    :return: ln Z and the effective sample size of the draws, each (batch,)
    """
    _, n_draws, dim = batch_shape
    noise = th.randn(batch_shape, device=like.device, dtype=like.dtype)
    log_proposal = -0.5 * noise.square().sum(-1) - dim * (0.5 * math.log(2 * math.pi) + math.log(scale))
    log_weights = log_density(scale * noise) - log_proposal
    log_z = log_weights.logsumexp(-1) - math.log(n_draws)
    effective_size = (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()
    return log_z, effective_size


def immse_log_prob(score: ScoreFunction, z: th.Tensor, n_levels: int, n_noise: int) -> th.Tensor:
    """ln p(z) from the denoising error at all noise levels (the pointwise I-MMSE relation; Kong et al. 2023):

        -ln p(z) = -ln N(z; 0, I) + ∫ E_u[‖u + σ f(z + σu; σ)‖² - ‖u + σ g(z + σu; σ)‖²] d ln σ,

    with g the score of the standard normal under the same noise. Taking that Gaussian as the reference, with the
    same u, leaves only the correction to be sampled. The trapezium rule is used on a grid of ln σ.

    :param score: f at points (batch, n, dim) and noise scales (batch, n, 1)
    :param z: standardised points, (batch, n, dim)
    :param n_levels: number of noise levels
    :param n_noise: number of antithetic pairs of noise vectors at each level
    :return: (batch, n)
    """
    dim = z.shape[-1]
    low, high = IMMSE_NOISE_RANGE
    grid = th.linspace(math.log(low), math.log(high), n_levels, device=z.device, dtype=z.dtype)
    step = float(grid[1] - grid[0])
    integral = z.new_zeros(z.shape[:-1])
    for k, sigma in enumerate(grid.exp()):
        weight = step * (0.5 if k in (0, n_levels - 1) else 1.0) / (2 * n_noise)
        for _ in range(n_noise):
            u = normal_like(z)
            for signed in (u, -u):
                y = z + sigma * signed
                error = (signed + sigma * score(y, sigma.expand(*z.shape[:-1], 1))).square().sum(-1)
                reference = (signed - sigma * y / (1 + sigma**2)).square().sum(-1)
                integral = integral + weight * (error - reference)
    return -0.5 * (z.square().sum(-1) + dim * math.log(2 * math.pi)) - integral
