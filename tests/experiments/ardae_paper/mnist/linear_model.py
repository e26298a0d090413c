"""An autoencoder whose decoder is linear with Gaussian noise, so that ln p(x) and p(z|x) are known."""

import math

import torch as th
from torch import nn
from torch.distributions import MultivariateNormal

from experiments.ardae_paper.mnist.autoencoder import Autoencoder
from experiments.ardae_paper.mnist.posteriors import Posterior


class LinearDecoder(nn.Module):
    """x = W z + b + s u with u ~ N(0, I)."""

    weight: th.Tensor
    bias: th.Tensor

    def __init__(self, dim: int, n_pixels: int, deviation: float = 1.0) -> None:
        super().__init__()
        generator = th.Generator().manual_seed(1)
        self.register_buffer("weight", th.randn(n_pixels, dim, generator=generator))
        self.register_buffer("bias", th.randn(n_pixels, generator=generator))
        self.deviation = deviation

    def log_likelihood(self, x: th.Tensor, z: th.Tensor) -> th.Tensor:
        residual = (x.unsqueeze(1) - z @ self.weight.mT - self.bias) / self.deviation
        return -0.5 * residual.square().sum(-1) - x.shape[1] * math.log(self.deviation * math.sqrt(2 * math.pi))

    def marginal(self) -> MultivariateNormal:
        """Return p(x)."""
        identity = th.eye(len(self.bias))
        return MultivariateNormal(self.bias, self.weight @ self.weight.mT + self.deviation**2 * identity)

    def posterior(self, x: th.Tensor) -> MultivariateNormal:
        """Return p(z|x)."""
        precision = th.eye(self.weight.shape[1]) + self.weight.mT @ self.weight / self.deviation**2
        mean = (x - self.bias) @ self.weight / self.deviation**2 @ precision.inverse()
        return MultivariateNormal(mean, precision_matrix=precision)


def linear_autoencoder(posterior: Posterior, n_pixels: int) -> tuple[Autoencoder, LinearDecoder]:
    """Return the autoencoder whose encoder is the identity, with a fixed decoder."""
    decoder = LinearDecoder(posterior.dim, n_pixels)
    return Autoencoder(nn.Identity(), posterior, decoder), decoder
