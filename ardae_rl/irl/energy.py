"""Energy-based models of points in R^d."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.score.validation import check_positive


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

    Beside x, the perceptron may see sines and cosines along random directions (Tancik et al. 2020, Fourier features,
    https://arxiv.org/abs/2006.10739), without which many narrow modes are learnt late; a smooth density is learnt
    better without.

    :param dim: of x
    :param hidden: widths
    :param breadth: of the Gaussian, in standard deviations of the data
    :param n_frequencies: directions; 0 for none
    :param frequency: standard deviation of their components, for data in units of its standard deviation
    :raises ValueError: for numbers outside of what is accepted
    """

    frequencies: th.Tensor

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (128, 128, 128),
        breadth: float = 2.0,
        n_frequencies: int = 0,
        frequency: float = 3.0,
    ) -> None:
        super().__init__(dim)
        for name, value in {"breadth": breadth, "frequency": frequency}.items():
            check_positive(name, value)
        if n_frequencies < 0:
            raise ValueError(f"n_frequencies={n_frequencies!r}: accepted are 0 and more")
        self.breadth = breadth
        self.register_buffer("frequencies", frequency * th.randn(dim, n_frequencies))
        self.network = nn.Sequential(*create_mlp(dim + 2 * n_frequencies, 1, list(hidden), nn.SiLU))

    def gaussian(self) -> Independent:
        """The one in it."""
        return Independent(Normal(self.centre, self.breadth * self.scale, validate_args=False), 1, validate_args=False)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """(n) of (n, dim)."""
        z = (x - self.centre) / self.scale
        phases = z @ self.frequencies
        seen = th.cat([z, phases.sin(), phases.cos()], -1)
        energy: th.Tensor = self.network(seen).squeeze(-1) + 0.5 * (z / self.breadth).square().sum(-1)
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
