"""Mean and standard deviation of data, by which modules standardize their inputs."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count


class DataScale(nn.Module):
    """Base of modules that standardize data by its mean and standard deviation.

    :param dim: Dimension of the data.
    :raises ValueError: If ``dim`` is not positive.
    """

    center: th.Tensor
    scale: th.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_count("dim", dim)
        self.register_buffer("center", th.zeros(dim))
        self.register_buffer("scale", th.ones(dim))

    @th.no_grad()
    def fit_scale(self, data: th.Tensor) -> None:
        """Set center and scale to the mean and standard deviation of data (n, dim)."""
        self.center.copy_(data.mean(0))
        self.scale.copy_(data.std(0).clamp_min(1e-6))
