"""An autoencoder: an encoder, a posterior over its features, and a decoder with its likelihood."""

import math
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice
from experiments.ardae_paper.mnist.networks import Architecture, make_architecture
from experiments.ardae_paper.mnist.posteriors import (
    GaussianPosterior,
    HierarchicalPosterior,
    ImplicitPosterior,
    Posterior,
    ResidualImplicitPosterior,
)

FAMILIES = ("gaussian", "hierarchical", "implicit")


class BernoulliDecoder(nn.Module):
    """Independent binary pixels, whose logits are a network of the latent.

    :param network: Maps latents (..., dim) to logits (..., n_pixels).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: th.Tensor) -> th.Tensor:
        """Return the logits."""
        logits: th.Tensor = self.network(z)
        return logits

    def log_likelihood(self, x: th.Tensor, z: th.Tensor) -> th.Tensor:
        logits = self.network(z)
        # Σ x l - ln(1 + e^l); the first term as a product, which needs no copies of x
        return (logits @ x.unsqueeze(-1)).squeeze(-1) - F.softplus(logits).sum(-1)


class Autoencoder(nn.Module):
    """Encoder, posterior and decoder.

    :param encoder: Maps images (n, n_pixels) to features (n, n_features).
    :param posterior: q(z|x), given the features.
    :param decoder: p(x|z).
    """

    def __init__(self, encoder: nn.Module, posterior: Posterior, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.posterior, self.decoder = encoder, posterior, decoder

    def features(self, x: th.Tensor) -> th.Tensor:
        """Return the encoder's features of images, (batch, n_features)."""
        features: th.Tensor = self.encoder(x)
        return features

    def log_likelihood(self, x: th.Tensor, z: th.Tensor) -> th.Tensor:
        """Return ln p(x|z), (batch, n), for latents (batch, n, dim)."""
        decoder: Any = self.decoder
        log_likelihood: th.Tensor = decoder.log_likelihood(x, z)
        return log_likelihood

    def log_joint(self, x: th.Tensor, z: th.Tensor) -> th.Tensor:
        """Return ln p(x|z) + ln N(z; 0, I), (batch, n)."""
        return self.log_likelihood(x, z) + log_prior(z)


def log_prior(z: th.Tensor) -> th.Tensor:
    """Return ln N(z; 0, I), in the shape of z without its last dimension."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def make_autoencoder(
    architecture: str, family: str, latent_dim: int = 32, noise_dim: int = 100, output_noise: float = 0.0
) -> tuple[Autoencoder, Architecture]:
    """Return the networks of Table 5 for an architecture and a family of posteriors.

    :param architecture: "mlp", "conv" or "resconv".
    :param family: "gaussian", "hierarchical" or "implicit".
    :param latent_dim: Dimension of z.
    :param noise_dim: Dimension of z0, or of ε.
    :param output_noise: c of :class:`~experiments.ardae_paper.mnist.posteriors.ImplicitPosterior`.
    """
    check_choice("family", family, FAMILIES)
    networks = make_architecture(architecture, latent_dim)
    n_features, hidden = networks.n_features, networks.hidden
    posterior: Posterior
    if family == "gaussian":
        posterior = GaussianPosterior(n_features, latent_dim, hidden if networks.gaussian_hidden else 0)
    elif family == "hierarchical":
        auxiliary_hidden = hidden if networks.auxiliary_hidden else 0
        posterior = HierarchicalPosterior(n_features, latent_dim, noise_dim, hidden, auxiliary_hidden)
    else:
        implicit = ResidualImplicitPosterior if architecture == "resconv" else ImplicitPosterior
        posterior = implicit(n_features, latent_dim, noise_dim, hidden, output_noise)
    return Autoencoder(networks.encoder, posterior, BernoulliDecoder(networks.decoder)), networks
