"""Energy-based models of points in R^d."""

from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.common.checks import check_positive
from ardae_rl.score.fourier import FourierFeatures


class Standardised(nn.Module):
    """μ and σ of the data, for what counts in units of them.

    :param dim: of the data
    :raises ValueError: for a dimension that is not positive
    """

    centre: th.Tensor
    scale: th.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_positive("dim", dim)
        self.register_buffer("centre", th.zeros(dim))
        self.register_buffer("scale", th.ones(dim))

    @th.no_grad()
    def observe(self, x: th.Tensor) -> None:
        """Take mean and deviation of these points, (n, dim)."""
        self.centre.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp_min(1e-6))


class EnergyNetwork(Standardised):
    """E(x) of p_θ = e^{-E} / Z: a perceptron, and a Gaussian that keeps Z finite.

    Many narrow modes are learnt late without frequencies; a smooth density is learnt better without.

    :param dim: of x
    :param hidden: widths
    :param breadth: of the Gaussian, in standard deviations of the data
    :param n_frequencies: of :class:`~ardae_rl.score.fourier.FourierFeatures`, as which the perceptron sees x
    :param frequency: the same, for data in units of its standard deviation
    :raises ValueError: for numbers outside of what is accepted
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (128, 128, 128),
        breadth: float = 2.0,
        n_frequencies: int = 0,
        frequency: float = 3.0,
    ) -> None:
        super().__init__(dim)
        check_positive("breadth", breadth)
        self.breadth = breadth
        self.features = FourierFeatures(dim, n_frequencies, frequency)
        widths = [self.features.n_features, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def gaussian(self) -> Independent:
        """The one in it."""
        return Independent(Normal(self.centre, self.breadth * self.scale, validate_args=False), 1, validate_args=False)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """(n) of (n, dim)."""
        z = (x - self.centre) / self.scale
        energy: th.Tensor = self.network(self.features(z)).squeeze(-1) + 0.5 * (z / self.breadth).square().sum(-1)
        return energy


def energy_gradient(energy: nn.Module, x: th.Tensor) -> th.Tensor:
    """∇E, (n, dim), of points (n, dim)."""
    x = x.detach().requires_grad_(True)
    (gradient,) = th.autograd.grad(energy(x).sum(), x)
    return gradient


def langevin(energy: nn.Module, x: th.Tensor, n_steps: int, step_size: float) -> th.Tensor:
    """Where Langevin's dynamics takes points (n, dim): x ← x - ½ η² ∇E + η ε, n_steps times.

    :param step_size: η
    """
    for _ in range(n_steps):
        x = x - 0.5 * step_size**2 * energy_gradient(energy, x) + step_size * th.randn_like(x)
    return x.detach()
