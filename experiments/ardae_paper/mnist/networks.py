"""Encoders and decoders of Table 5. Images are flat, (n, 784); decoders return logits of the pixels."""

from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice


class Architecture(NamedTuple):
    """An encoder and a decoder, with the width of the layers that a posterior adds to the encoder."""

    encoder: nn.Module  # maps images to features (n, n_features)
    decoder: nn.Module  # maps latents (..., latent_dim) to logits (..., n_pixels)
    n_features: int
    hidden: int  # width of a posterior's hidden layer
    gaussian_hidden: bool  # whether the Gaussian posterior has this hidden layer too
    auxiliary_hidden: bool  # whether q(z0|x) of the hierarchical posterior has it


class ResidualLinear(nn.Module):
    """Two layers and a linear shortcut (He et al. 2016), in the form of Huang et al. (2018).

    :param n_in: Number of inputs.
    :param n_out: Number of outputs.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(n_in, n_out), nn.Linear(n_out, n_out)
        self.shortcut = nn.Linear(n_in, n_out)

    def forward(self, x: th.Tensor) -> th.Tensor:
        y: th.Tensor = self.second(F.elu(self.first(x))) + self.shortcut(x)
        return y


class ResidualConv(nn.Module):
    """Two 3 x 3 convolutions and a convolutional shortcut.

    :param n_in: Number of input channels.
    :param n_out: Number of output channels.
    :param stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(n_in, n_out, 3, stride, 1)
        self.second = nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(n_in, n_out, 3, stride, 1)

    def forward(self, x: th.Tensor) -> th.Tensor:
        y: th.Tensor = self.second(F.elu(self.first(x))) + self.shortcut(x)
        return y


class FlattenedPoints(nn.Module):
    """A network over points (n, dim), applied to points of any batch shape.

    :param network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: th.Tensor) -> th.Tensor:
        output: th.Tensor = self.network(z.flatten(0, -2))
        return output.unflatten(0, z.shape[:-1])


def make_architecture(name: str, latent_dim: int, n_pixels: int = 784) -> Architecture:
    """Return the networks of one column of Table 5.

    :param name: "mlp", "conv" or "resconv"; the last two need 28 x 28 pixels.
    :param latent_dim: Dimension of the latent.
    :param n_pixels: Number of pixels.
    """
    check_choice("name", name, tuple(ARCHITECTURES))
    return ARCHITECTURES[name](latent_dim, n_pixels)


def _mlp(latent_dim: int, n_pixels: int) -> Architecture:
    encoder = nn.Sequential(nn.Linear(n_pixels, 300), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(latent_dim, 300), nn.ReLU(), nn.Linear(300, n_pixels))
    return Architecture(encoder, decoder, n_features=300, hidden=300, gaussian_hidden=False, auxiliary_hidden=False)


def _conv(latent_dim: int, n_pixels: int) -> Architecture:
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5, 2, 2),
        nn.ReLU(),
        nn.Flatten(),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 300),
        nn.ReLU(),
        nn.Linear(300, 512),
        nn.ReLU(),
        nn.Unflatten(1, (32, 4, 4)),
        nn.ConvTranspose2d(32, 32, 5, 2, 2),  # 7 x 7
        nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 5, 2, 2, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 5, 2, 2, output_padding=1),
        nn.Flatten(),
    )
    return Architecture(
        encoder, FlattenedPoints(decoder), n_features=512, hidden=800, gaussian_hidden=True, auxiliary_hidden=True
    )


def _resconv(latent_dim: int, n_pixels: int) -> Architecture:
    encoder = nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        *(
            layer
            for block in (
                ResidualConv(1, 16, 2),
                ResidualConv(16, 16),
                ResidualConv(16, 32, 2),
                ResidualConv(32, 32),
                ResidualConv(32, 32, 2),
            )
            for layer in (block, nn.ELU())
        ),
        nn.Flatten(),
        ResidualLinear(512, 450),
        nn.ELU(),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 450),
        nn.ELU(),
        nn.Linear(450, 512),
        nn.ELU(),
        nn.Unflatten(1, (32, 4, 4)),
        nn.Upsample(size=7),  # "upscale by 2" and a crop, because 28 is not a multiple of 8
        ResidualConv(32, 32),
        nn.ELU(),
        ResidualConv(32, 32),
        nn.ELU(),
        nn.Upsample(size=14),
        ResidualConv(32, 16),
        nn.ELU(),
        ResidualConv(16, 16),
        nn.ELU(),
        nn.Upsample(size=28),
        ResidualConv(16, 1),
        nn.Flatten(),
    )
    return Architecture(
        encoder, FlattenedPoints(decoder), n_features=450, hidden=450, gaussian_hidden=False, auxiliary_hidden=True
    )


ARCHITECTURES = {"mlp": _mlp, "conv": _conv, "resconv": _resconv}
