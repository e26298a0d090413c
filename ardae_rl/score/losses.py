"""Losses whose minimizer is the score, or the normalized log-density, of the samples' distribution.

Throughout, y = x + σu with u ~ N(0, I), and p_σ is the density of y. All functions take one entry per sample and
return the mean, a scalar; ``...`` stands for any batch shape.
"""

import torch as th
from torch.nn import functional as F


def ardae_loss(noisy_score: th.Tensor, u: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """Return the amortized residual DAE loss, E‖u + σ f(x + σu; σ)‖² (Lim et al. 2020, Eq. 2 and 18).

    Example:

    >>> import torch
    >>> from ardae_rl.score import ardae_loss
    >>> x, u, sigma = torch.randn(1000, 2), torch.randn(1000, 2), 0.1 * torch.randn(1000, 1)
    >>> score = -(x + sigma * u) / (1 + sigma**2)  # of a standard normal distribution with noise
    >>> loss = ardae_loss(score, u, sigma)

    :param noisy_score: f(x + σu; σ), (..., dim).
    :param u: Standard normal noise, (..., dim).
    :param sigma: Signed noise scale, (..., 1).
    """
    return (u + sigma * noisy_score).square().sum(-1).mean()


def cv_loss(noisy_score: th.Tensor, clean_score: th.Tensor, u: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """Return the loss of denoising score matching with a control variate.

    This is AR-DAE's loss divided by 2σ², minus terms that do not depend on f or have mean zero. Expanding
    ½‖f_σ + u/σ‖² and subtracting u·f_0/σ, whose mean is zero because u is independent of x, leaves
    E[½‖f_σ‖² + u·(f_σ - f_0)/σ]. The minimizer is that of :func:`ardae_loss`, but the variance stays finite as σ goes
    to zero, where the loss becomes implicit score matching (Hyvärinen 2005) with Hutchinson's trace estimate.

    Example:

    >>> import torch
    >>> from ardae_rl.score import cv_loss
    >>> x, u, sigma = torch.randn(1000, 2), torch.randn(1000, 2), torch.full((1000, 1), 0.1)
    >>> loss = cv_loss(-(x + sigma * u) / (1 + sigma**2), -x, u, sigma)  # for a standard normal distribution

    :param noisy_score: f_σ = f(x + σu; σ), (..., dim).
    :param clean_score: f_0 = f(x; 0), (..., dim).
    :param u: Standard normal noise, (..., dim).
    :param sigma: Noise scale, nowhere zero, (..., 1).
    """
    return (0.5 * noisy_score.square() + u * (noisy_score - clean_score) / sigma).sum(-1).mean()


def mixture_score(points: th.Tensor, means: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """Return the score at each point of the mixture of Gaussians with these means, Σ_j w_j (mean_j - point) / σ².

    If each point is one of the means plus σ times normal noise, and the means are samples of any distribution, then the
    expectation of this score given the point is ∇ ln p_σ(point), for any number of means: given all means and the
    point, the weights w_j are the probabilities that the point was generated from mean j, so this is the conditional
    expectation of the denoising target -u/σ, with less variance (Rao-Blackwellization). It depends on the means, among
    them the one that generated the point, so it is a target for a regression on the point, not a score estimate itself.

    Example:

    >>> import torch
    >>> from ardae_rl.score import mixture_score
    >>> mixture_score(torch.zeros(1, 1, 2), torch.ones(1, 1, 2), torch.tensor(0.5))
    tensor([[[4., 4.]]])

    :param points: (batch, n, dim).
    :param means: (batch, m, dim).
    :param sigma: Noise scale, a scalar or (1, 1, 1).
    """
    # |x - m|² without the term |x|², which does not change the weights
    logits = th.baddbmm(-0.5 * means.square().sum(-1).unsqueeze(1), points, means.mT) / sigma.square()
    weights = (logits - logits.amax(-1, keepdim=True)).exp()  # th.softmax takes four times as long for a few entries
    return (weights @ means / weights.sum(-1, keepdim=True) - points) / sigma.square()


def own_noise_loss(score: th.Tensor, points: th.Tensor, means: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    """Return ½ E‖f(x + σu; σ) - t‖² with the target t of :func:`mixture_score`, for noise of one scale.

    The minimizer is the score of the samples with noise, ∇ ln p_σ. This is denoising score matching (Vincent 2011) with
    less variance, for a distribution that includes such noise itself, so that σ need not go to zero.

    Example:

    >>> import torch
    >>> from ardae_rl.score import own_noise_loss
    >>> means, sigma = torch.randn(100, 16, 2), torch.tensor(0.5)
    >>> points = means + sigma * torch.randn(100, 16, 2)
    >>> loss = own_noise_loss(-points / (1 + sigma**2), points, means, sigma)

    :param score: f at the points, (batch, n, dim).
    :param points: Samples with noise, x + σu, (batch, n, dim).
    :param means: The samples without noise, in the same order, (batch, n, dim).
    :param sigma: Noise scale, a scalar or (1, 1, 1).
    """
    return 0.5 * (score - mixture_score(points, means, sigma)).square().sum(-1).mean()


def noise_level_loss(noise_level_derivative: th.Tensor, u: th.Tensor) -> th.Tensor:
    """Return the regression loss of ∂ ln p_σ(y) / ∂ ln σ = E[|u|² - dim | y], divided by the target's variance.

    Together with the score, it makes a density self-normalized: for σ → ∞ the density is a known Gaussian, and the
    derivative carries the normalization down to σ = 0 (Choi et al. 2022; Guth, Kadkhodaie and Simoncelli 2025).

    Example:

    >>> import torch
    >>> from ardae_rl.score import noise_level_loss
    >>> x, u = torch.randn(1000, 2), torch.randn(1000, 2)  # with σ = 1, y is normal with variance 2
    >>> loss = noise_level_loss(0.5 * (x + u).square().sum(-1) / 2 - 1, u)

    :param noise_level_derivative: ∂ ln p_σ(y) / ∂ ln σ of the model, (...).
    :param u: Standard normal noise, (..., dim).
    """
    dim = u.shape[-1]
    target = u.square().sum(-1) - dim
    return 0.5 * (noise_level_derivative - target).square().mean() / (2 * dim)


def contrastive_loss(samples_log_ratio: th.Tensor, reference_log_ratio: th.Tensor) -> th.Tensor:
    """Return the loss of logistic regression that separates samples of p from draws of a reference q.

    This is -E_p ln D - E_q ln(1 - D) with logit D = ln p̂ - ln q. At the optimum p̂ = p, so the model p̂ is normalized
    (noise-contrastive estimation, Gutmann and Hyvärinen 2010, with as many draws as samples). It is also the loss of
    a discriminator.

    Example:

    >>> import torch
    >>> from ardae_rl.score import contrastive_loss
    >>> p, q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(0.0, 2.0)
    >>> samples, draws = p.sample((1000,)), q.sample((1000,))
    >>> loss = contrastive_loss(*(p.log_prob(x) - q.log_prob(x) for x in (samples, draws)))

    :param samples_log_ratio: ln p̂(x) - ln q(x) at samples x ~ p, (...).
    :param reference_log_ratio: ln p̂(x) - ln q(x) at draws x ~ q, (...).
    """
    return F.softplus(-samples_log_ratio).mean() + F.softplus(reference_log_ratio).mean()


def entropy_surrogate(samples: th.Tensor, score: th.Tensor) -> th.Tensor:
    """Return a scalar whose gradient with respect to a sampler's parameters is that of the sampler's entropy.

    ∇H = -E[∇_x ln p(x) · ∂x/∂θ] (Lim et al. 2020, Eq. 1). Only the gradient has a meaning; the value has none.

    Example:

    >>> import torch
    >>> from ardae_rl.score import entropy_surrogate
    >>> scale = torch.tensor(2.0, requires_grad=True)
    >>> x = scale * torch.randn(100_000, 1)
    >>> entropy_surrogate(x, -x / scale**2).backward()
    >>> round(scale.grad.item(), 1)  # 1 / scale
    0.5

    :param samples: x = g_θ(z), (..., dim), attached to the graph of θ.
    :param score: ∇_x ln p(x) at the samples, or an estimate of it, (..., dim); treated as constant.
    """
    return -(score.detach() * samples).sum(-1).mean()
