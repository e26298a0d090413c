"""Langevin dynamics: Markov chains that sample from an energy."""

import torch as th
from torch import nn


def energy_gradient(energy: nn.Module, x: th.Tensor) -> th.Tensor:
    """Return ∇E, (n, dim), at points (n, dim)."""
    x = x.detach().requires_grad_(True)
    (gradient,) = th.autograd.grad(energy(x).sum(), x)
    return gradient


def langevin(energy: nn.Module, x: th.Tensor, n_steps: int, step_size: float | th.Tensor) -> th.Tensor:
    """Move points (n, dim) by Langevin dynamics, x ← x - ½ η² ∇E + η ε with ε ~ N(0, I).

    :param n_steps: Number of steps.
    :param step_size: η, one number, or one per dimension (dim,).
    """
    for _ in range(n_steps):
        x = x - 0.5 * step_size**2 * energy_gradient(energy, x) + step_size * th.randn_like(x)
    return x.detach()
