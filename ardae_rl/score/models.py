"""Energies ψ(z; σ, context) and scores f = ∂ψ/∂z in standardised coordinates, at any noise scale σ."""

import math
from typing import Any, NamedTuple

import torch as th
from torch import nn

from ardae_rl.score.networks import ConditionalNetwork, ContextCode, ScalarNetwork

# Below this noise scale (in units of the samples' scale) the network sees no difference
_NOISE_RESOLUTION = 0.02


class Energy(NamedTuple):
    """An energy with its derivatives at points (batch, n, dim)."""

    score: th.Tensor  # ∂ψ/∂z, batch x n x dim
    log_density: th.Tensor | None = None  # ψ, batch x n; None for a vector field
    noise_level: th.Tensor | None = None  # ∂ψ/∂ ln σ, batch x n, where asked for


class PreconditionedEnergy(nn.Module):
    """The Gaussian at the noise level, plus a network's correction that vanishes as the noise grows:

        ψ(y; σ) = ln N(y; 0, (1 + σ²) I) + G(κy, σ) / (1 + σ²),    κ = 1 / sqrt(1 + σ²).

    It is exact at the start for a Gaussian, finite at σ = 0, and even in σ, as p_σ is: the network sees ln(σ² + ε²).
    This is the preconditioning of Karras et al. (2022, Table 1) moved from the denoiser to the energy.
    """

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any]):
        super().__init__()
        self.dim = dim
        self.network = ScalarNetwork(dim, context_dim, n_out=1, **network_kwargs)

    def encode(self, context: th.Tensor | None) -> ContextCode:
        return self.network.encode(context)

    def log_density(self, y: th.Tensor, sigma: th.Tensor, code: ContextCode) -> th.Tensor:
        """ψ alone, (batch, n)."""
        variance = 1 + sigma.square()
        z = y * variance.rsqrt()
        correction = self.network(z, _noise_feature(sigma), code).squeeze(-1)
        return self._gaussian(z, variance) + correction / variance.squeeze(-1)

    def forward(self, y: th.Tensor, sigma: th.Tensor, code: ContextCode, with_noise_level: bool = False) -> Energy:
        """
        :param y: (batch, n, dim)
        :param sigma: (batch, n, 1), or anything that broadcasts against it
        :param with_noise_level: whether ∂ψ/∂ ln σ is needed
        """
        variance = 1 + sigma.square()
        kappa = variance.rsqrt()
        z = y * kappa
        g = self.network.with_gradients(z, _noise_feature(sigma), code, with_noise_level)
        score = kappa * (g.point / variance - z)
        v = variance.squeeze(-1)
        noise_level = None
        if g.noise_feature is not None:
            share = sigma.square().squeeze(-1) / v  # of the variance that is noise
            noise_level = share * (z.square().sum(-1) - self.dim - (2 * g.value + (g.point * z).sum(-1)) / v)
            noise_level = noise_level + g.noise_feature * _noise_feature_slope(sigma).squeeze(-1) / v
        return Energy(score, self._gaussian(z, variance) + g.value / v, noise_level)

    def _gaussian(self, z: th.Tensor, variance: th.Tensor) -> th.Tensor:
        return -0.5 * (z.square().sum(-1) + self.dim * (math.log(2 * math.pi) + variance.log().squeeze(-1)))


class PreconditionedField(nn.Module):
    """The same preconditioning for a vector field, f(y; σ) = κ (G(κy, σ) - κy): no energy, no log density."""

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any]):
        super().__init__()
        self.network = ConditionalNetwork(dim, context_dim, n_out=dim, **network_kwargs)

    def encode(self, context: th.Tensor | None) -> ContextCode:
        return self.network.encode(context)

    def forward(self, y: th.Tensor, sigma: th.Tensor, code: ContextCode) -> Energy:
        kappa = (1 + sigma.square()).rsqrt()
        z = y * kappa
        return Energy(kappa * (self.network(z, _noise_feature(sigma), code) - z))


class RawEnergy(nn.Module):
    """The paper's form: the network is ψ, or the residual itself, and sees the signed σ; nothing is factored out."""

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any], *, scalar: bool, input_scale: float):
        super().__init__()
        self.input_scale = input_scale
        network_class = ScalarNetwork if scalar else ConditionalNetwork
        self.network = network_class(dim, context_dim, n_out=1 if scalar else dim, **network_kwargs)
        self.network.output_layer.reset_parameters()

    def encode(self, context: th.Tensor | None) -> ContextCode:
        return self.network.encode(context)

    def log_density(self, y: th.Tensor, sigma: th.Tensor, code: ContextCode) -> th.Tensor:
        return self.network(y, sigma / self.input_scale, code).squeeze(-1)

    def forward(self, y: th.Tensor, sigma: th.Tensor, code: ContextCode, with_noise_level: bool = False) -> Energy:
        noise_feature = sigma / self.input_scale
        if not isinstance(self.network, ScalarNetwork):
            return Energy(self.network(y, noise_feature, code))
        g = self.network.with_gradients(y, noise_feature, code, with_noise_level)
        noise_level = None if g.noise_feature is None else g.noise_feature * noise_feature.squeeze(-1)
        return Energy(g.point, g.value, noise_level)


EnergyModel = PreconditionedEnergy | PreconditionedField | RawEnergy


def _noise_feature(sigma: th.Tensor) -> th.Tensor:
    # About -1.2 at σ = 0, 0.75 at σ = 1
    return 0.25 * (sigma.square() + _NOISE_RESOLUTION**2).log() + 0.75


def _noise_feature_slope(sigma: th.Tensor) -> th.Tensor:
    """Derivative of the feature with respect to ln σ."""
    squared = sigma.square()
    return 0.5 * squared / (squared + _NOISE_RESOLUTION**2)
