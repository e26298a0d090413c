"""Fourier features of points."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_positive


class FourierFeatures(nn.Module):
    """x, and beside it sines and cosines along random directions, without which networks learn narrow shapes late.

    Reference: Tancik et al. (2020), https://arxiv.org/abs/2006.10739.

    :param dim: of x
    :param n_frequencies: directions; 0 for x alone
    :param frequency: standard deviation of their components
    :raises ValueError: for numbers outside of what is accepted
    """

    frequencies: th.Tensor

    def __init__(self, dim: int, n_frequencies: int, frequency: float) -> None:
        super().__init__()
        check_positive("frequency", frequency)
        if n_frequencies < 0:
            raise ValueError(f"`n_frequencies` must be >= 0, got {n_frequencies!r}")
        self.sizes = (dim, n_frequencies, n_frequencies)
        self.register_buffer("frequencies", frequency * th.randn(dim, n_frequencies), persistent=n_frequencies > 0)

    @property
    def n_features(self) -> int:
        return sum(self.sizes)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """(..., n_features) of (..., dim)."""
        if self.sizes[1] == 0:
            return x
        phases = x @ self.frequencies
        return th.cat([x, phases.sin(), phases.cos()], -1)

    def pull_back(self, features: th.Tensor, gradient: th.Tensor) -> th.Tensor:
        """The gradient at x, (..., dim), given the features and the gradient at them."""
        if self.sizes[1] == 0:
            return gradient
        _, sines, cosines = features.split(self.sizes, -1)
        at_x, at_sines, at_cosines = gradient.split(self.sizes, -1)
        return at_x + (at_sines * cosines - at_cosines * sines) @ self.frequencies.t()
