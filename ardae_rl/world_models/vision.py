"""The vision model: a convolutional variational autoencoder of single frames."""

from typing import NamedTuple

import torch as th
from torch import nn

from ardae_rl.common.checks import check_positive

SIZE = 64  # pixels of a side
ACTIVE = 0.01  # nats that an active unit tells of its frame at least, on average


class VisionLoss(NamedTuple):
    """Means over a batch."""

    loss: th.Tensor  # what is minimised
    reconstruction: th.Tensor  # sum of squared errors of a frame
    kl_by_unit: th.Tensor  # (z_dim), nats


class ConvVAE(nn.Module):
    """Frames of 64 x 64 to a Gaussian over latents, and back.

    Reference: Ha and Schmidhuber (2018), World Models, App. A.1; the layers are theirs, 4.3 million parameters.

    :param z_dim: dimension of the latent
    :param width: channels of the first layer (32 in the paper)
    :param free_nats: of the divergence, for each unit: it is not pressed below their sum
    """

    def __init__(self, z_dim: int = 32, width: int = 32, free_nats: float = 0.5) -> None:
        super().__init__()
        for name, value in {"z_dim": z_dim, "width": width}.items():
            check_positive(name, value)
        if not free_nats >= 0:
            raise ValueError(f"free_nats={free_nats!r}: accepted are numbers from 0 up")
        self.z_dim, self.free_nats = z_dim, free_nats
        code = 32 * width  # 2 x 2 pixels of 8 width channels
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, 2),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 4, 2),
            nn.ReLU(),
            nn.Conv2d(4 * width, 8 * width, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
        ).to(memory_format=th.channels_last)  # type: ignore[call-overload]
        self.posterior = nn.Linear(code, 2 * z_dim)
        self.decoder = nn.Sequential(
            nn.Linear(z_dim, code),
            nn.Unflatten(1, (code, 1, 1)),
            nn.ConvTranspose2d(code, 4 * width, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 6, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 6, 2),
            nn.Sigmoid(),
        ).to(memory_format=th.channels_last)  # type: ignore[call-overload]

    def encode(self, frames: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and ln standard deviation of the latent, (n, z_dim) each.

        :param frames: (n, 64, 64, 3), uint8
        """
        return self._encode(as_images(frames))

    def draw(self, frames: th.Tensor) -> th.Tensor:
        """Draws of the posteriors of frames (n, 64, 64, 3): (n, z_dim)."""
        mean, log_std = self.encode(frames)
        return mean + log_std.exp() * th.randn_like(mean)

    def decode(self, z: th.Tensor) -> th.Tensor:
        """Images (n, 3, 64, 64) in [0, 1] of latents (n, z_dim)."""
        images: th.Tensor = self.decoder(z)
        return images

    def loss(self, frames: th.Tensor) -> VisionLoss:
        """Σ squared errors + max(KL, free), the mean over frames (n, 64, 64, 3); with fresh noise."""
        images = as_images(frames)
        mean, log_std = self._encode(images)
        z = mean + log_std.exp() * th.randn_like(mean)
        errors = (self.decode(z) - images).square().flatten(1).sum(1)
        kl = self.divergence(mean, log_std)
        pressed = kl.sum(1).clamp(min=self.free_nats * self.z_dim)
        return VisionLoss((errors + pressed).mean(), errors.mean().detach(), kl.mean(0).detach())

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        """Those of its own, which a continued training needs as well as the parameters."""
        return {}

    @staticmethod
    def divergence(mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
        """KL of Gaussians to the prior N(0, 1), for each unit: the shape of both."""
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std

    def _encode(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        mean, log_std = self.posterior(self.encoder(images)).chunk(2, -1)
        return mean, log_std


def as_images(frames: th.Tensor) -> th.Tensor:
    """Frames (n, height, width, 3), uint8, as images (n, 3, height, width) in [0, 1]; channels last in memory."""
    return frames.permute(0, 3, 1, 2).float() / 255


def as_frames(images: th.Tensor) -> th.Tensor:
    """The inverse of :func:`as_images`, to rounding."""
    return (images * 255).round().clamp(0, 255).to(th.uint8).permute(0, 2, 3, 1)


def active_units(kl_by_unit: th.Tensor) -> int:
    """How many units say something of their frame; few of them: the posterior has collapsed."""
    return int((kl_by_unit > ACTIVE).sum())
