"""Samplers of points in R^d without a closed-form density."""

from collections.abc import Sequence

import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.common.checks import check_min


class ConditionalGaussian(nn.Module):
    """N(μ(c), diag σ²(c)), with one network for mean and variance.

    :param condition_dim: Dimension of c.
    :param dim: Dimension of the variable.
    :param hidden: Widths of the hidden layers.
    :param min_log_variance: Lower bound of ln σ².
    """

    def __init__(self, condition_dim: int, dim: int, hidden: Sequence[int], min_log_variance: float = -th.inf) -> None:
        super().__init__()
        self.min_log_variance = min_log_variance
        self.trunk = _trunk(condition_dim, hidden)
        self.mean = nn.Linear(hidden[-1], dim)
        self.log_variance = nn.Linear(hidden[-1], dim)

    def forward(self, condition: th.Tensor) -> Independent:
        """Return the distributions given conditions (n, condition_dim)."""
        h = self.trunk(condition)
        log_variance = self.log_variance(h).clamp(min=self.min_log_variance)
        normal = Normal(self.mean(h), (0.5 * log_variance).exp(), validate_args=False)
        return Independent(normal, 1, validate_args=False)


class _NoiseDriven(nn.Module):
    """A sampler that transforms z ~ N(0, I).

    :param noise_dim: Dimension of z.
    """

    def __init__(self, noise_dim: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim

    def sample_noise(self, n: int) -> th.Tensor:
        """Return n draws of z, (n, noise_dim), on the device and in the precision of the parameters."""
        parameter = next(self.parameters())
        return th.randn(n, self.noise_dim, device=parameter.device, dtype=parameter.dtype)


class ImplicitSampler(_NoiseDriven):
    """x = g(z) with z ~ N(0, I).

    :param noise_dim: Dimension of z.
    :param dim: Dimension of x.
    :param hidden: Widths of g.
    :param residual: Whether the first ``dim`` entries of z are added to g, which is then zero at initialization.
    :raises ValueError: If a residual sampler has ``noise_dim`` less than ``dim``.
    """

    def __init__(self, noise_dim: int, dim: int, hidden: Sequence[int], residual: bool = False) -> None:
        super().__init__(noise_dim)
        if residual:
            check_min("noise_dim", noise_dim, dim)
        self.dim, self.residual = dim, residual
        output_layer = nn.Linear(hidden[-1], dim)
        if residual:
            nn.init.zeros_(output_layer.weight)
            nn.init.zeros_(output_layer.bias)
        self.generator = nn.Sequential(_trunk(noise_dim, hidden), output_layer)

    def forward(self, n: int) -> th.Tensor:
        """Return n samples, (n, dim)."""
        z = self.sample_noise(n)
        x: th.Tensor = self.generator(z)
        return x + z[:, : self.dim] if self.residual else x


class HierarchicalSampler(_NoiseDriven):
    """x ~ N(μ(z), diag σ²(z)) with z ~ N(0, I).

    :param noise_dim: Dimension of z.
    :param dim: Dimension of x.
    :param hidden: Widths of the network of μ and ln σ².
    :param min_log_variance: Lower bound of ln σ².
    """

    def __init__(self, noise_dim: int, dim: int, hidden: Sequence[int], min_log_variance: float = -th.inf) -> None:
        super().__init__(noise_dim)
        self.conditional = ConditionalGaussian(noise_dim, dim, hidden, min_log_variance)

    def forward(self, n: int) -> th.Tensor:
        """Return n samples, (n, dim)."""
        x: th.Tensor = self.conditional(self.sample_noise(n)).rsample()
        return x


Sampler = ImplicitSampler | HierarchicalSampler


def _trunk(n_in: int, hidden: Sequence[int]) -> nn.Sequential:
    """Return hidden layers with a variance-preserving initialization.

    With torch's default initialization, a deep network starts as an almost linear map and is slow to leave it.
    """
    layers: list[nn.Module] = []
    for width_in, width in zip((n_in, *hidden), hidden, strict=False):
        layer = nn.Linear(width_in, width)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers)
