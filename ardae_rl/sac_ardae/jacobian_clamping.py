"""Jacobian clamping (Lim et al. 2020, App. G.2): keep the sampler's Jacobian in its noise from vanishing."""

from collections.abc import Callable

import torch as th


def squared_singular_value_estimates(
    generator: Callable[[th.Tensor], th.Tensor], noise: th.Tensor, outputs: th.Tensor, n_perturb: int, xi: float
) -> th.Tensor:
    """Finite-difference ratios ‖g(ε + ξv) - g(ε)‖² / (ξ²‖v‖²) in random directions v ~ N(0, I).

    Each is a mean of the squared singular values of the Jacobian, weighted by the direction: it bounds their
    weighted mean, not the smallest of them.

    :param generator: g, mapping noise (batch, n, noise_dim) to outputs (batch, n, dim)
    :param noise: ε, (batch, noise_dim)
    :param outputs: g(ε), (batch, dim)
    :param n_perturb: number of directions for each noise vector
    :param xi: ξ, the length of the step
    :return: (batch, n_perturb)
    """
    direction = th.randn(len(noise), n_perturb, noise.shape[-1], device=noise.device, dtype=noise.dtype)
    difference = generator(noise.unsqueeze(1) + xi * direction) - outputs.unsqueeze(1)
    return difference.square().sum(-1) / (xi**2 * direction.square().sum(-1))


def clamping_penalty(squared_singular_values: th.Tensor, eta: float) -> th.Tensor:
    """E[min(ratio - η, 0)²]: zero where the (squared) ratio is at least η."""
    return (squared_singular_values - eta).clamp(max=0).square().mean()


def clamping_weight(iteration: int, nu: float, cap: float) -> float:
    """λ_i = min(1 + i^ν / 1000, cap), the weight of the penalty at gradient step i."""
    return min(1 + iteration**nu / 1000, cap)
