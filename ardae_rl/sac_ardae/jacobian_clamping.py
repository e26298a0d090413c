"""Jacobian clamping (Lim et al. 2020, App. G.2): keep the sampler's Jacobian in its noise from vanishing."""

import torch as th


def with_perturbed(noise: th.Tensor, n_perturb: int, xi: float) -> th.Tensor:
    """ε, and beside it ε + ξv in random directions v ~ N(0, I): one pass of the sampler then gives all outputs.

    :param noise: ε, (batch, 1, noise_dim)
    :param n_perturb: number of directions for each noise vector
    :param xi: ξ, the length of the step
    :return: (batch, 1 + n_perturb, noise_dim)
    """
    direction = th.randn(len(noise), n_perturb, noise.shape[-1], device=noise.device, dtype=noise.dtype)
    return th.cat([noise, noise + xi * direction], dim=1)


def squared_singular_value_estimates(noise: th.Tensor, outputs: th.Tensor) -> th.Tensor:
    """Finite-difference ratios ‖g(ε + ξv) - g(ε)‖² / ‖ξv‖².

    Each is a mean of the squared singular values of the Jacobian, weighted by the direction: it bounds their
    weighted mean, not the smallest of them.

    :param noise: from :func:`with_perturbed`, (batch, 1 + n_perturb, noise_dim)
    :param outputs: of the sampler at these, (batch, 1 + n_perturb, dim)
    :return: (batch, n_perturb)
    """
    output_steps, noise_steps = outputs[:, 1:] - outputs[:, :1], noise[:, 1:] - noise[:, :1]
    return output_steps.square().sum(-1) / noise_steps.square().sum(-1)


def clamping_penalty(squared_singular_values: th.Tensor, eta: float) -> th.Tensor:
    """E[min(ratio - η, 0)²]: zero where the (squared) ratio is at least η."""
    return (squared_singular_values - eta).clamp(max=0).square().mean()


def clamping_weight(iteration: th.Tensor, nu: float, cap: float) -> th.Tensor:
    """λ_i = min(1 + i^ν / 1000, cap), the weight of the penalty at gradient step i."""
    return (1 + iteration**nu / 1000).clamp(max=cap)
