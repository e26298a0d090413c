"""Score models at any noise scale σ, in standardized coordinates: energies with their gradients, and plain scores.

An energy E is minus a log-density up to a constant, E(z; σ) = -ln p_σ(z) + const. Models return -E, called
``log_density``, and its gradient, the score.
"""

import math
from abc import abstractmethod
from typing import Any, NamedTuple, cast

import torch as th
from torch import nn

from ardae_rl.score.networks import ConditionalNetwork, ContextEmbedding, ScalarNetwork

# Below this noise scale (in units of the samples' scale), scales look the same to the network
_NOISE_RESOLUTION = 0.02


class ScoreOutput(NamedTuple):
    """What a score model returns at points (batch, n, dim)."""

    score: th.Tensor  # ∂ log_density / ∂z, (batch, n, dim)
    log_density: th.Tensor | None = None  # -E, unnormalized, (batch, n); None for a plain score
    noise_level_derivative: th.Tensor | None = None  # ∂ log_density / ∂ ln σ, (batch, n), if requested
    log_ratio: th.Tensor | None = None  # see PreconditionedEnergy.log_ratio, (batch, n)


class ScoreModel(nn.Module):
    """A network that gives the score of noisy samples, ∇ ln p_σ.

    :param network: The network, over (point, noise feature, context).
    :param input_scale: Factor from the samples' coordinates to the model's.
    """

    network: ConditionalNetwork

    def __init__(self, network: ConditionalNetwork, input_scale: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.input_scale = input_scale

    def encode(self, context: th.Tensor | None) -> ContextEmbedding:
        """Return the embedding of contexts (batch, context_dim), to be computed once for all points."""
        return self.network.encode(context)

    @abstractmethod
    def forward(
        self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding, with_noise_level: bool = False
    ) -> ScoreOutput:
        """Return the score, and the log-density where there is an energy.

        :param y: Noisy points, (batch, n, dim).
        :param sigma: Noise scales, (batch, n, 1) or anything that broadcasts against it.
        :param embedding: From :meth:`encode`.
        :param with_noise_level: Whether the derivative with respect to ln σ is needed, which only an energy has.
        """

    def log_density(self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        """Return -E alone, (batch, n); the arguments are those of :meth:`forward`.

        :raises ValueError: If the model is a plain score.
        """
        raise ValueError("`parameterization` must be 'energy' for an unnormalized density, got 'score'")

    @property
    def _scalar_network(self) -> ScalarNetwork:
        return cast(ScalarNetwork, self.network)


class PreconditionedEnergy(ScoreModel):
    """The Gaussian at the noise level, plus a network's correction that vanishes as the noise grows:

        -E(y; σ) = ln N(y; 0, (1 + σ²) I) + G(κy, σ) / (1 + σ²),    κ = 1 / sqrt(1 + σ²).

    The model is exact at initialization for a Gaussian, finite at σ = 0, and even in σ, as p_σ is: the network sees
    ln(σ² + ε²). This is the preconditioning of Karras et al. (2022, Table 1) moved from the denoiser to the energy.

    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context; 0 for none.
    :param network_kwargs: Arguments of :class:`~ardae_rl.score.networks.ConditionalNetwork`.
    """

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any]):
        super().__init__(ScalarNetwork(dim, context_dim, n_out=1, **network_kwargs))
        self.dim = dim

    def log_density(self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        variance = 1 + sigma.square()
        return self._gaussian(y * variance.rsqrt(), variance) + self.log_ratio(y, sigma, embedding)

    def log_ratio(self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        """Return the log-density minus that of the Gaussian at the noise level, (batch, n).

        The arguments are those of :meth:`forward`.
        """
        variance = 1 + sigma.square()
        correction: th.Tensor = self.network(y * variance.rsqrt(), _noise_feature(sigma), embedding)
        return (correction / variance).squeeze(-1)

    def forward(
        self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding, with_noise_level: bool = False
    ) -> ScoreOutput:
        variance = 1 + sigma.square()
        kappa = variance.rsqrt()
        z = y * kappa
        g = self._scalar_network.with_gradients(z, _noise_feature(sigma), embedding, with_noise_level)
        score = kappa * (g.point / variance - z)
        v = variance.squeeze(-1)
        derivative = None
        if g.noise_feature is not None:
            noise_share = sigma.square().squeeze(-1) / v  # of the variance
            derivative = noise_share * (z.square().sum(-1) - self.dim - (2 * g.value + (g.point * z).sum(-1)) / v)
            derivative = derivative + g.noise_feature * _noise_feature_slope(sigma).squeeze(-1) / v
        log_ratio = g.value / v
        return ScoreOutput(score, self._gaussian(z, variance) + log_ratio, derivative, log_ratio)

    def _gaussian(self, z: th.Tensor, variance: th.Tensor) -> th.Tensor:
        return -0.5 * (z.square().sum(-1) + self.dim * (math.log(2 * math.pi) + variance.log().squeeze(-1)))


class PreconditionedScore(ScoreModel):
    """A preconditioned score without an energy, f(y; σ) = κ (G(κy, σ) - κy), which has no log-density.

    The preconditioning is that of :class:`PreconditionedEnergy`.

    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context; 0 for none.
    :param network_kwargs: Arguments of :class:`~ardae_rl.score.networks.ConditionalNetwork`.
    """

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any]):
        super().__init__(ConditionalNetwork(dim, context_dim, n_out=dim, **network_kwargs))

    def forward(
        self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding, with_noise_level: bool = False
    ) -> ScoreOutput:
        kappa = (1 + sigma.square()).rsqrt()
        z = y * kappa
        return ScoreOutput(kappa * (self.network(z, _noise_feature(sigma), embedding) - z))


class _RawModel(ScoreModel):
    """The paper's form: the network sees the signed σ, and no Gaussian is factored out."""

    def __init__(self, network: ConditionalNetwork, input_scale: float) -> None:
        super().__init__(network, input_scale)
        self.network.output_layer.reset_parameters()  # the paper's output layer is not initialized to zero


class RawEnergy(_RawModel):
    """The paper's form of an energy: the network's one output is -E.

    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context; 0 for none.
    :param network_kwargs: Arguments of :class:`~ardae_rl.score.networks.ConditionalNetwork`.
    :param input_scale: s, the factor by which points are multiplied before the network sees them.
    """

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any], input_scale: float):
        super().__init__(ScalarNetwork(dim, context_dim, n_out=1, **network_kwargs), input_scale)

    def log_density(self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        log_density: th.Tensor = self.network(y, sigma / self.input_scale, embedding).squeeze(-1)
        return log_density

    def forward(
        self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding, with_noise_level: bool = False
    ) -> ScoreOutput:
        noise_feature = sigma / self.input_scale
        g = self._scalar_network.with_gradients(y, noise_feature, embedding, with_noise_level)
        derivative = None if g.noise_feature is None else g.noise_feature * noise_feature.squeeze(-1)
        return ScoreOutput(g.point, g.value, derivative)


class RawScore(_RawModel):
    """The paper's form of a score: the network's outputs are the residual itself.

    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context; 0 for none.
    :param network_kwargs: Arguments of :class:`~ardae_rl.score.networks.ConditionalNetwork`.
    :param input_scale: s, the factor by which points are multiplied before the network sees them.
    """

    def __init__(self, dim: int, context_dim: int, network_kwargs: dict[str, Any], input_scale: float):
        super().__init__(ConditionalNetwork(dim, context_dim, n_out=dim, **network_kwargs), input_scale)

    def forward(
        self, y: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding, with_noise_level: bool = False
    ) -> ScoreOutput:
        return ScoreOutput(self.network(y, sigma / self.input_scale, embedding))


def _noise_feature(sigma: th.Tensor) -> th.Tensor:
    # About -1.2 at σ = 0, 0.75 at σ = 1
    return 0.25 * (sigma.square() + _NOISE_RESOLUTION**2).log() + 0.75


def _noise_feature_slope(sigma: th.Tensor) -> th.Tensor:
    """Return the derivative of the feature with respect to ln σ."""
    squared = sigma.square()
    return 0.5 * squared / (squared + _NOISE_RESOLUTION**2)
