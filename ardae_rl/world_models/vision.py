"""The vision model: a convolutional variational autoencoder of single frames."""

from typing import NamedTuple

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count, check_min

SIZE = 64  # side of a frame, in pixels
_MIN_ACTIVE_KL = 0.01  # mean KL to the prior above which a unit counts as active, in nats


class VisionLoss(NamedTuple):
    """Means over a batch."""

    loss: th.Tensor  # to minimize
    reconstruction: th.Tensor  # sum of the squared errors of a frame's pixels
    kl_by_unit: th.Tensor  # (z_dim,), in nats


class ConvVAE(nn.Module):
    """A variational autoencoder of 64 x 64 frames with a Gaussian posterior.

    Reference: Ha and Schmidhuber (2018), World Models, App. A.1. The layers and their 4.3 million parameters are the
    same.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.vision import ConvVAE
    >>> vae = ConvVAE(z_dim=8, width=4)
    >>> frames = th.randint(256, (2, 64, 64, 3), dtype=th.uint8)
    >>> mean, log_std = vae.encode(frames)
    >>> mean.shape, vae.decode(mean).shape
    (torch.Size([2, 8]), torch.Size([2, 3, 64, 64]))

    :param z_dim: Dimension of the latent.
    :param width: Number of channels of the first layer (32 in the paper).
    :param free_nats: Free nats per unit: a frame's KL divergence is penalized only above ``free_nats * z_dim``.
    :raises ValueError: For a value outside of its range.
    """

    def __init__(self, z_dim: int = 32, width: int = 32, free_nats: float = 0.5) -> None:
        super().__init__()
        for name, value in {"z_dim": z_dim, "width": width}.items():
            check_count(name, value)
        check_min("free_nats", free_nats, 0)
        self.z_dim, self.free_nats = z_dim, free_nats
        n_flat = 32 * width  # 2 x 2 pixels of 8 width channels
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
        self.posterior = nn.Linear(n_flat, 2 * z_dim)
        self.decoder = nn.Sequential(
            nn.Linear(z_dim, n_flat),
            nn.Unflatten(1, (n_flat, 1, 1)),
            nn.ConvTranspose2d(n_flat, 4 * width, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 6, 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 6, 2),
            nn.Sigmoid(),
        ).to(memory_format=th.channels_last)  # type: ignore[call-overload]

    def encode(self, frames: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return the posteriors' means and log standard deviations, (n, z_dim) each.

        :param frames: Frames (n, 64, 64, 3), uint8.
        """
        return self._encode(as_images(frames))

    def draw(self, frames: th.Tensor) -> th.Tensor:
        """Sample latents (n, z_dim) from the posteriors of frames (n, 64, 64, 3)."""
        mean, log_std = self.encode(frames)
        return mean + log_std.exp() * th.randn_like(mean)

    def decode(self, z: th.Tensor) -> th.Tensor:
        """Return images (n, 3, 64, 64) in [0, 1] for latents (n, z_dim)."""
        return self.decoder(z)

    def loss(self, frames: th.Tensor) -> VisionLoss:
        """Return Σ squared errors + max(KL, free nats), averaged over frames (n, 64, 64, 3), with fresh noise."""
        images = as_images(frames)
        mean, log_std = self._encode(images)
        z = mean + log_std.exp() * th.randn_like(mean)
        errors = (self.decode(z) - images).square().flatten(1).sum(1)
        kl = self.divergence(mean, log_std)
        penalty = kl.sum(1).clamp(min=self.free_nats * self.z_dim)
        return VisionLoss((errors + penalty).mean(), errors.mean().detach(), kl.mean(0).detach())

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        """Optimizers that the loss steps itself, by name; a checkpoint needs their state too."""
        return {}

    @staticmethod
    def divergence(mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
        """Return the KL divergence of Gaussians to the prior N(0, 1) for each unit, in the shape of the arguments."""
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std

    def _encode(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        mean, log_std = self.posterior(self.encoder(images)).chunk(2, -1)
        return mean, log_std


def as_images(frames: th.Tensor) -> th.Tensor:
    """Convert frames (n, height, width, 3), uint8, to images (n, 3, height, width) in [0, 1].

    The images have channels last in memory.
    """
    return frames.permute(0, 3, 1, 2).float() / 255


def as_frames(images: th.Tensor) -> th.Tensor:
    """Convert images back to uint8 frames, (n, height, width, 3): the inverse of :func:`as_images`, up to rounding."""
    return (images * 255).round().clamp(0, 255).to(th.uint8).permute(0, 2, 3, 1)


def active_units(kl_by_unit: th.Tensor) -> int:
    """Return the number of latent units that carry information about the frame; if few, the posterior has collapsed."""
    return int((kl_by_unit > _MIN_ACTIVE_KL).sum())
