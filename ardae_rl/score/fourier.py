"""Fourier features of points."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count, check_positive


class FourierFeatures(nn.Module):
    """x, concatenated with sines and cosines along random directions, so that networks learn narrow shapes faster.

    Reference: Tancik et al. (2020), https://arxiv.org/abs/2006.10739.

    :param dim: Dimension of x.
    :param n_frequencies: Number of directions; 0 for x alone.
    :param frequency: Standard deviation of the directions' components.
    :raises ValueError: If ``n_frequencies`` is negative or ``frequency`` is not positive.
    """

    frequencies: th.Tensor

    def __init__(self, dim: int, n_frequencies: int, frequency: float) -> None:
        super().__init__()
        check_positive("frequency", frequency, finite=True)
        check_count("n_frequencies", n_frequencies, 0)
        self.sizes = (dim, n_frequencies, n_frequencies)
        self.register_buffer("frequencies", frequency * th.randn(dim, n_frequencies), persistent=n_frequencies > 0)

    @property
    def n_features(self) -> int:
        """Number of features per point."""
        return sum(self.sizes)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return features (..., n_features) of points (..., dim)."""
        if self.sizes[1] == 0:
            return x
        phases = x @ self.frequencies
        return th.cat([x, phases.sin(), phases.cos()], -1)

    def pull_back(self, features: th.Tensor, gradient: th.Tensor) -> th.Tensor:
        """Return the gradient with respect to x, (..., dim), from features and the gradient with respect to them."""
        if self.sizes[1] == 0:
            return gradient
        _, sines, cosines = features.split(self.sizes, -1)
        at_x, at_sines, at_cosines = gradient.split(self.sizes, -1)
        return at_x + (at_sines * cosines - at_cosines * sines) @ self.frequencies.t()
