"""The energy functions of Rezende and Mohamed (2015, Table 1), and distances to their densities on a grid."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch as th

# Energies 2 to 4 cannot be normalized along x₁: like the code of Lim et al. (not their text), add relu(|xᵢ| - 6)²
_WALL = 6.0
N_CELLS = 100  # per side
_POINTS_PER_CELL = 8  # per side, of the midpoint rule


@dataclass(frozen=True)
class Energy:
    """An unnormalized density exp(-U) on the plane, with a box and regions by which fits to it are measured.

    :param potential: U without the wall; maps points (..., 2) to (...).
    :param bounds: Left, right, bottom and top of a box that holds all but 1e-4 of the mass.
    :param region: Maps points (..., 2) to the indices (...) of the regions of the plane that contain them.
    :param regions: Names of the regions. A fit that misses a mode has too little mass in one of them.
    """

    potential: Callable[[th.Tensor], th.Tensor]
    bounds: tuple[float, float, float, float]
    region: Callable[[th.Tensor], th.Tensor]
    regions: tuple[str, ...]

    def __call__(self, x: th.Tensor) -> th.Tensor:
        """Return U with the wall, (...), at points (..., 2)."""
        return self.potential(x) + (x.abs() - _WALL).relu().square().sum(-1)


class GridDensity:
    """The normalized density by quadrature: probabilities of N_CELLS x N_CELLS cells, exact samples, distances.

    :param energy: Energy of the density.
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        left, right, bottom, top = energy.bounds
        self._corner = th.tensor([left, bottom], dtype=th.float64)
        self._size = th.tensor([right - left, top - bottom], dtype=th.float64)
        n = N_CELLS * _POINTS_PER_CELL
        centers = (th.arange(n, dtype=th.float64) + 0.5) / n
        self._points = self._corner + self._size * th.cartesian_prod(centers, centers)
        self._log_mass = (-energy(self._points)).log_softmax(0)  # of the square around each point
        blocks = self._log_mass.reshape(N_CELLS, _POINTS_PER_CELL, N_CELLS, _POINTS_PER_CELL)
        self.log_cells = blocks.logsumexp((1, 3))  # (x₁, x₂)

    def sample(self, n: int) -> th.Tensor:
        """Return exact samples (n, 2), up to the squares of the quadrature."""
        squares = th.multinomial(self._log_mass.exp(), n, replacement=True)
        side = self._size / (N_CELLS * _POINTS_PER_CELL)
        return (self._points[squares] + side * (th.rand(n, 2, dtype=th.float64) - 0.5)).float()

    def histogram(self, x: th.Tensor) -> th.Tensor:
        """Return the fraction of samples (n, 2) in each cell; samples outside the box count in the nearest cell."""
        cells = ((x.double() - self._corner) / self._size * N_CELLS).long().clamp(0, N_CELLS - 1)
        counts = th.bincount(cells[:, 0] * N_CELLS + cells[:, 1], minlength=N_CELLS**2)
        return counts.reshape(N_CELLS, N_CELLS) / len(x)

    def total_variation(self, shares: th.Tensor) -> float:
        """Return ½ Σ |q - p| over cells for a histogram q."""
        return 0.5 * float((shares - self.log_cells.exp()).abs().sum())

    def reverse_kl(self, shares: th.Tensor) -> float:
        """Return Σ q ln(q / p) over cells for a histogram q."""
        return float((th.xlogy(shares, shares) - shares * self.log_cells).sum())

    def region_shares(self) -> th.Tensor:
        """Return the probability of each region of the energy."""
        region = self.energy.region(self._points)
        n = len(self.energy.regions)
        return th.zeros(n, dtype=th.float64).index_add(0, region, self._log_mass.exp())

    def coverage(self, x: th.Tensor) -> float:
        """Return the smallest ratio of samples to probability over the regions: 0 if a mode is missed, at best 1."""
        counts = th.bincount(self.energy.region(x), minlength=len(self.energy.regions))
        return float((counts / len(x) / self.region_shares()).min())


def _gaussian(x: th.Tensor, center: float, scale: float) -> th.Tensor:
    """Return an unnormalized Gaussian log-density."""
    return -0.5 * ((x - center) / scale).square()


def _wave(x: th.Tensor) -> th.Tensor:
    """Return w₁, the height of the ridge."""
    return th.sin(math.pi / 2 * x[..., 0])


def _bump(x: th.Tensor) -> th.Tensor:
    """Return w₂, the distance of energy 3's second branch below the ridge."""
    return 3 * _gaussian(x[..., 0], 1, 0.6).exp()


def _step(x: th.Tensor) -> th.Tensor:
    """Return w₃, the distance of energy 4's second branch below the ridge."""
    return 3 * th.sigmoid((x[..., 0] - 1) / 0.3)


def _two_lobes(x: th.Tensor) -> th.Tensor:
    lobes = th.logaddexp(_gaussian(x[..., 0], 2, 0.6), _gaussian(x[..., 0], -2, 0.6))
    return -_gaussian(x.norm(dim=-1), 2, 0.4) - lobes


def _ridge(x: th.Tensor) -> th.Tensor:
    return -_gaussian(x[..., 1] - _wave(x), 0, 0.4)


def _two_ridges(x: th.Tensor, gap: th.Tensor, upper_scale: float) -> th.Tensor:
    height = x[..., 1] - _wave(x)
    return -th.logaddexp(_gaussian(height, 0, upper_scale), _gaussian(height + gap, 0, 0.35))


def _below(x: th.Tensor, gap: th.Tensor) -> th.Tensor:
    """Return 1 on the side of the lower branch, else 0."""
    return (x[..., 1] < _wave(x) - gap / 2).long()


def _thirds(x: th.Tensor) -> th.Tensor:
    return (x[..., 0] > -2).long() + (x[..., 0] > 2).long()


def _around_bump(x: th.Tensor) -> th.Tensor:
    beside = th.where(x[..., 0] < 1, 2, 3)
    return th.where((x[..., 0] - 1).abs() < 0.9, _below(x, _bump(x)), beside)  # the gap is at least 1


def _around_step(x: th.Tensor) -> th.Tensor:
    return th.where(x[..., 0] < 0.8, 2, _below(x, _step(x)))  # the gap is at least 1


ENERGIES = {
    1: Energy(_two_lobes, (-4, 4, -4, 4), lambda x: (x[..., 0] > 0).long(), ("left", "right")),
    2: Energy(_ridge, (-9, 9, -6, 4), _thirds, ("left", "middle", "right")),
    3: Energy(
        lambda x: _two_ridges(x, _bump(x), 0.35), (-9, 9, -6, 4), _around_bump, ("upper", "lower", "left", "right")
    ),
    4: Energy(lambda x: _two_ridges(x, _step(x), 0.4), (-9, 9, -6, 4), _around_step, ("upper", "lower", "left")),
}
