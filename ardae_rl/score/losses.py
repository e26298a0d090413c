"""Objectives whose minimiser is the score, or the normalised log density, of the distribution that made the samples.

Throughout, ``y = x + sigma * u`` with ``u ~ N(0, I)``, and ``p_sigma`` is the density of ``y``.
All functions take per-sample quantities and return the scalar mean; ``...`` stands for any batch shape.
"""

import torch as th
from torch.nn import functional as F


def ardae_loss(noisy_score: th.Tensor, u: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """The amortised residual DAE loss, E‖u + σ f(x + σu; σ)‖² (Lim et al. 2020, Eq. 2 and 18).

    :param noisy_score: f(x + σu; σ), shape (..., dim)
    :param u: the standard normal noise, shape (..., dim)
    :param sigma: the signed noise scale, shape (..., 1)
    """
    return (u + sigma * noisy_score).square().sum(-1).mean()


def cv_loss(noisy_score: th.Tensor, clean_score: th.Tensor, u: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """Denoising score matching with a control variate: the loss of AR-DAE over 2σ², less a term of mean zero.

    Expanding ½‖f_σ + u/σ‖² and subtracting u·f_0/σ, whose mean is zero because u does not depend on x, leaves
    E[½‖f_σ‖² + u·(f_σ - f_0)/σ]. The minimiser is that of :func:`ardae_loss`; the variance stays finite as σ goes
    to zero, where the loss becomes implicit score matching with Hutchinson's trace estimate (Hyvärinen 2005).

    :param noisy_score: f_σ = f(x + σu; σ), shape (..., dim)
    :param clean_score: f_0 = f(x; 0), shape (..., dim)
    :param u: the standard normal noise, shape (..., dim)
    :param sigma: the noise scale, nowhere zero, shape (..., 1)
    """
    return (0.5 * noisy_score.square() + u * (noisy_score - clean_score) / sigma).sum(-1).mean()


def noise_level_loss(noise_level_derivative: th.Tensor, u: th.Tensor) -> th.Tensor:
    """Match ∂ ln p_σ(y) / ∂ ln σ = E[|u|² - dim | y], divided by the variance of the target.

    With the score it makes an energy self-normalised: at σ → ∞ the density is a known Gaussian, and the derivative
    carries its normalisation down to σ = 0 (Choi et al. 2022; Guth, Kadkhodaie and Simoncelli 2025).

    :param noise_level_derivative: ∂ψ(y; σ)/∂ ln σ, shape (...)
    :param u: the standard normal noise, shape (..., dim)
    """
    dim = u.shape[-1]
    target = u.square().sum(-1) - dim
    return 0.5 * (noise_level_derivative - target).square().mean() / (2 * dim)


def contrastive_loss(samples_log_ratio: th.Tensor, reference_log_ratio: th.Tensor) -> th.Tensor:
    """Tell samples from draws of a known reference density by logistic regression.

    At the optimum the log ratio is ln p(x) - ln q(x), hence p comes out normalised
    (noise-contrastive estimation, Gutmann and Hyvärinen 2010, with as many reference draws as samples).

    :param samples_log_ratio: ψ(x) - ln q(x) at samples x ~ p, shape (...)
    :param reference_log_ratio: the same at draws x ~ q, shape (...)
    """
    return F.softplus(-samples_log_ratio).mean() + F.softplus(reference_log_ratio).mean()


def entropy_surrogate(samples: th.Tensor, score: th.Tensor) -> th.Tensor:
    """A scalar whose gradient with respect to the sampler's parameters is the gradient of the sampler's entropy.

    ∇H = -E[∇_x ln p(x) · ∂x/∂θ] (Lim et al. 2020, Eq. 1). Only the gradient means anything; the value does not.

    :param samples: x = g_θ(z), attached to the graph of θ, shape (..., dim)
    :param score: ∇_x ln p(x), or an estimate of it, at the samples; taken as constant; shape (..., dim)
    """
    return -(score.detach() * samples).sum(-1).mean()
