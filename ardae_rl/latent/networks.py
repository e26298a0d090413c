"""Networks that encode images as Gaussians over latents, and decode latents to images."""

import math
from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.common.checks import check_between, check_count, check_min, check_widths

LOG_STD_MIN, LOG_STD_MAX = -6.0, 2.0


class GaussianEncoder(nn.Module):
    """Encodes an image as a Gaussian over its latent, with diagonal covariance.

    :param shape: Shape of the images, (channels, height, width).
    :param z_dim: Dimension of the latent.
    :param hidden: Widths of the hidden layers.
    :param initial_std: Approximate standard deviation at initialization: small, so that the decoder receives a signal
        before the prior takes over.
    :param blur: Standard deviation, in pixels, of a Gaussian blur of the input; 0 for no blur. With it, objects that
        moved by less than this look alike, so that nearby states have nearby latents from the start of training.
    :param sharp: Weight of the unblurred image that is added to the blurred one, to distinguish states that differ by a
        few pixels; with 0 the latent map stays smooth. Without ``blur`` it has no effect.
    :param motion: If positive, a stack of consecutive images is replaced by the differences between them, multiplied
        by this factor, and the last image. Without it, velocities are learned last, because objects that move little
        per step change few pixels.
    :raises ValueError: If an argument is out of its range, or ``motion`` is used with single images.
    """

    rows: th.Tensor
    columns: th.Tensor

    def __init__(
        self,
        shape: Sequence[int],
        z_dim: int,
        hidden: Sequence[int] = (300, 300),
        initial_std: float = 0.1,
        blur: float = 0.0,
        sharp: float = 0.25,
        motion: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("z_dim", z_dim)
        check_widths("hidden", hidden)
        check_between("initial_std", initial_std, math.exp(LOG_STD_MIN), math.exp(LOG_STD_MAX))
        for name, value in {"blur": blur, "sharp": sharp, "motion": motion}.items():
            check_min(name, value, 0)
        if motion and shape[0] == 1:
            raise ValueError(f"`motion` must be 0 for single images of shape {tuple(shape)}, got {motion!r}")
        self.z_dim, self.blur, self.sharp, self.motion = z_dim, blur, sharp, motion
        if blur:
            self.register_buffer("rows", _blurring(shape[-2], blur), persistent=False)
            self.register_buffer("columns", _blurring(shape[-1], blur), persistent=False)
        self.layers = nn.Sequential(nn.Flatten(), *create_mlp(math.prod(shape), 2 * z_dim, list(hidden)))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        last.bias.data[z_dim:] = math.log(initial_std)

    def forward(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return mean and log standard deviation, (n, z_dim) each, of images (n, channels, height, width) in [0, 1]."""
        if self.blur:
            images = self.rows @ images @ self.columns + self.sharp * images
        if self.motion:
            images = th.cat([self.motion * (images[:, 1:] - images[:, :-1]), images[:, -1:]], 1)
        mean, log_std = self.layers(images).chunk(2, -1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


class ImageDecoder(nn.Module):
    """Decodes a latent to the logits of an image's pixels, which are independent given the latent.

    :param z_dim: Dimension of the latent.
    :param shape: Shape of the images, such as (channels, height, width).
    :param hidden: Widths of the hidden layers.
    """

    def __init__(self, z_dim: int, shape: Sequence[int], hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__()
        check_widths("hidden", hidden)
        self.layers = nn.Sequential(*create_mlp(z_dim, math.prod(shape), list(hidden)), nn.Unflatten(-1, tuple(shape)))

    def forward(self, z: th.Tensor) -> th.Tensor:
        """Return logits (n, *shape), given latents (n, z_dim)."""
        logits: th.Tensor = self.layers(z)
        return logits


def _blurring(side: int, deviation: float) -> th.Tensor:
    """Return the matrix (side, side) of a one-dimensional Gaussian blur.

    Its rows have a sum of squares of 1 (less near the borders), so that blurring does not change the scale of noise.
    """
    distance = th.arange(side) - th.arange(side).unsqueeze(1)
    kernel = (-0.5 * (distance / deviation) ** 2).exp()
    return kernel / kernel.square().sum(1).max().sqrt()
