"""From pictures to Gaussians over latents, and back to pictures."""

import math
from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.common.checks import check_positive

_LEAST_LOG_STD, _GREATEST_LOG_STD = -6.0, 2.0


class GaussianEncoder(nn.Module):
    """A Gaussian with a diagonal covariance over the latent of a picture.

    :param shape: of the pictures, (channels, height, width)
    :param z_dim: dimension of the latent
    :param hidden: widths of the layers
    :param first_std: about the standard deviation in the beginning: small, so that a decoder has something to read
        before the prior pulls
    :param blur: standard deviation, in pixels, of a Gaussian that pictures are blurred by before they are seen: what
        has moved by less looks alike then, so that latents of near places are near from the beginning
    :param sharp: share of the picture itself beside the blurred one, for where places are to be told within few
        pixels; with none the map stays smooth
    :param motion: of a stack of consecutive pictures, the differences between them, this many times, are seen in place
        of all but the newest: what moves little in a step changes little in the pictures, so that speeds would be the
        last thing to be learnt; 0 for the pictures as they are
    :raises ValueError: for numbers outside of what is accepted, and motion in single pictures
    """

    rows: th.Tensor
    columns: th.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        hidden: Sequence[int] = (300, 300),
        first_std: float = 0.1,
        blur: float = 0.0,
        sharp: float = 0.25,
        motion: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive("z_dim", z_dim)
        check_positive("first_std", first_std)
        for name, value in {"blur": blur, "sharp": sharp, "motion": motion}.items():
            if not value >= 0:
                raise ValueError(f"{name}={value!r}: accepted are numbers from 0 up")
        if motion and shape[0] == 1:
            raise ValueError(f"motion={motion!r} with pictures of shape {tuple(shape)}: accepted is 0 for single ones")
        self.z_dim, self.blur, self.sharp, self.motion = z_dim, blur, sharp, motion
        if blur:
            self.register_buffer("rows", _blurring(shape[-2], blur), persistent=False)
            self.register_buffer("columns", _blurring(shape[-1], blur), persistent=False)
        self.layers = nn.Sequential(nn.Flatten(), *create_mlp(math.prod(shape), 2 * z_dim, list(hidden)))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        last.bias.data[z_dim:] = math.log(first_std)

    def forward(self, pictures: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and ln standard deviation, (n, z_dim) each, of pictures (n, channels, height, width) in [0, 1]."""
        if self.blur:
            pictures = self.rows @ pictures @ self.columns + self.sharp * pictures
        if self.motion:
            pictures = th.cat([self.motion * (pictures[:, 1:] - pictures[:, :-1]), pictures[:, -1:]], 1)
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


def _blurring(side: int, deviation: float) -> th.Tensor:
    """A Gaussian around each pixel of a line, (side, side); squares have the sum 1, so that noise keeps its size."""
    distance = th.arange(side) - th.arange(side).unsqueeze(1)
    kernel = (-0.5 * (distance / deviation) ** 2).exp()
    return kernel / kernel.square().sum(1).max().sqrt()
