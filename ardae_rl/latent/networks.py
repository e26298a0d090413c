"""From pictures to Gaussians over latents, and back to pictures."""

import math
from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.score.validation import check_positive

_LEAST_LOG_STD, _GREATEST_LOG_STD = -6.0, 2.0


class GaussianEncoder(nn.Module):
    """A Gaussian with a diagonal covariance over the latent of a picture.

    :param shape: of the pictures, (channels, height, width)
    :param z_dim: dimension of the latent
    :param hidden: widths of the layers
    :param first_std: about the standard deviation in the beginning: small, so that a decoder has something to read
        before the prior pulls
    """

    def __init__(
        self, shape: Sequence[int], z_dim: int, hidden: Sequence[int] = (300, 300), first_std: float = 0.1
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        check_positive("first_std", first_std)
        self.z_dim = z_dim
        self.layers = nn.Sequential(nn.Flatten(), *create_mlp(math.prod(shape), 2 * z_dim, list(hidden)))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        last.bias.data[z_dim:] = math.log(first_std)

    def forward(self, pictures: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and ln standard deviation, (n, z_dim) each, of pictures (n, channels, height, width) in [0, 1]."""
        mean, log_std = self.layers(pictures).chunk(2, -1)
        return mean, log_std.clamp(_LEAST_LOG_STD, _GREATEST_LOG_STD)


class PictureDecoder(nn.Module):
    """Logits of the pixels of a picture, each independent of the others given the latent.

    :param z_dim: dimension of the latent
    :param shape: of the pictures, (channels, height, width)
    :param hidden: widths of the layers
    """

    def __init__(self, z_dim: int, shape: Sequence[int], hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__()
        self.layers = nn.Sequential(*create_mlp(z_dim, math.prod(shape), list(hidden)), nn.Unflatten(-1, tuple(shape)))

    def forward(self, z: th.Tensor) -> th.Tensor:
        """(n, channels, height, width) of (n, z_dim)."""
        logits: th.Tensor = self.layers(z)
        return logits
