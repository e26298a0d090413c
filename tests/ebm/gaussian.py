"""A Gaussian energy and Gaussian data, which tests of energy-based models share."""

import torch as th
from torch import nn
from torch.distributions import Independent, Normal


class Parabola(nn.Module):
    """The energy ½ |x|² / σ²."""

    def __init__(self, deviation: float = 1.0) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: th.Tensor) -> th.Tensor:
        return 0.5 * (x / self.deviation).square().sum(-1)

    def gaussian(self) -> Independent:
        return Independent(Normal(th.zeros(2), 2 * th.ones(2)), 1)


def data(n: int = 5000) -> th.Tensor:
    """Draw from N((1, 0), 0.7² I)."""
    return th.tensor([1.0, 0.0]) + 0.7 * th.randn(n, 2)
