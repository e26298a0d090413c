"""Energies of points in R^d: E(x) = -ln p(x) + const, so that lower is more probable."""

from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn
from torch.distributions import Independent, Normal

from ardae_rl.common.checks import check_positive, check_widths
from ardae_rl.ebm.scaling import DataScale
from ardae_rl.score.fourier import FourierFeatures


class EnergyNetwork(DataScale):
    """E(x) of p_θ = e^{-E} / Z: a multilayer perceptron plus the energy of a broad Gaussian, which keeps Z finite.

    Fourier features speed up the learning of densities with many narrow modes; smooth densities are learned better
    without them.

    :param dim: Dimension of x.
    :param hidden: Widths of the hidden layers.
    :param breadth: Standard deviation of the Gaussian, in standard deviations of the data.
    :param n_frequencies: Number of random directions of :class:`~ardae_rl.score.fourier.FourierFeatures`; 0 for none.
    :param frequency: Standard deviation of the components of these directions, for data of unit scale.
    :raises ValueError: If ``dim``, ``breadth`` or ``frequency`` is not positive, or ``n_frequencies`` is negative.
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
        check_widths("hidden", hidden)
        check_positive("breadth", breadth)
        self.breadth = breadth
        self.features = FourierFeatures(dim, n_frequencies, frequency)
        widths = [self.features.n_features, *hidden]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.SiLU())]
        self.network = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def gaussian(self) -> Independent:
        """Return the broad Gaussian that is part of the energy."""
        return Independent(Normal(self.center, self.breadth * self.scale, validate_args=False), 1, validate_args=False)

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return energies (n,) of points (n, dim)."""
        z = (x - self.center) / self.scale
        energy: th.Tensor = self.network(self.features(z)).squeeze(-1) + 0.5 * (z / self.breadth).square().sum(-1)
        return energy
