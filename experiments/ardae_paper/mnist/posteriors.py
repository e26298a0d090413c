"""Three families of q(z|x), given an encoder's features: diagonal Gaussian, hierarchical and implicit (Table 5)."""

from abc import abstractmethod
from typing import NamedTuple

import torch as th
from torch import nn
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from ardae_rl.common.checks import check_min
from ardae_rl.sac_ardae.moments import Moments
from ardae_rl.sac_ardae.whitening import AffineFrame, whitening_frame
from experiments.ardae_paper.mnist.moments import relu_layer_moments
from experiments.ardae_paper.mnist.networks import ResidualLinear

_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE = -14.0, 6.0


class GaussianHead(nn.Module):
    """N(μ, diag σ²) with μ and ln σ² linear in a hidden layer.

    :param n_in: Width of the hidden layer.
    :param dim: Dimension of the variable.
    """

    def __init__(self, n_in: int, dim: int) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Linear(n_in, dim), nn.Linear(n_in, dim)

    def forward(self, h: th.Tensor) -> Independent:
        log_variance = self.log_variance(h).clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE)
        return Independent(Normal(self.mean(h), (0.5 * log_variance).exp(), validate_args=False), 1)


def gaussian_layers(n_features: int, dim: int, hidden: int) -> nn.Sequential:
    """Return a Gaussian head on features, with a hidden layer before it unless its width is 0."""
    layers = [nn.Linear(n_features, hidden), nn.ReLU()] if hidden else []
    return nn.Sequential(*layers, GaussianHead(hidden or n_features, dim))


class Posterior(nn.Module):
    """A distribution of latents (batch, n, dim), given an encoder's features (batch, n_features)."""

    dim: int
    output_noise: float = 0.0  # standard deviation of the output noise, in units of the spread without it

    @abstractmethod
    def sample(self, features: th.Tensor, n: int) -> th.Tensor:
        """Return ``n`` latents per image, (batch, n, dim), attached to the graph."""

    @abstractmethod
    def moments(self, features: th.Tensor) -> Moments:
        """Return mean and covariance of the latents, detached: (batch, dim) and (batch, dim, dim)."""

    def generate(self, features: th.Tensor, n: int) -> th.Tensor:
        """Return ``n`` latents per image without output noise, (batch, n, dim), attached to the graph."""
        return self.sample(features, n)

    def add_noise(self, z: th.Tensor, frame: AffineFrame) -> th.Tensor:
        """Return latents of :meth:`generate` with the output noise, if there is one."""
        return z

    def frame(self, features: th.Tensor) -> AffineFrame:
        """Return the frame in which latents without output noise have mean zero and covariance I."""
        return whitening_frame(self.moments(features))


class GaussianPosterior(Posterior):
    """A diagonal Gaussian.

    :param n_features: Number of features.
    :param dim: Dimension of the latent.
    :param hidden: Width of a layer between features and moments; 0 for none.
    """

    def __init__(self, n_features: int, dim: int, hidden: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.layers = gaussian_layers(n_features, dim, hidden)

    def distribution(self, features: th.Tensor) -> Independent:
        """Return q(z|x), with batch shape (batch,)."""
        distribution: Independent = self.layers(features)
        return distribution

    def sample(self, features: th.Tensor, n: int) -> th.Tensor:
        return self.distribution(features).rsample((n,)).transpose(0, 1)

    @th.no_grad()
    def moments(self, features: th.Tensor) -> Moments:
        distribution = self.distribution(features)
        return Moments(distribution.mean, th.diag_embed(distribution.variance))


class HierarchicalSample(NamedTuple):
    """Latents of a hierarchical posterior with the distributions that they come from; all are (batch, n, ...)."""

    z: th.Tensor
    auxiliary: th.Tensor  # z0
    log_auxiliary: th.Tensor  # ln q(z0|x), (batch, n)
    conditional: Independent  # q(z|z0,x)


class HierarchicalPosterior(Posterior):
    """q(z|x) = ∫ q(z|z0,x) q(z0|x) dz0, with diagonal Gaussians.

    :param n_features: Number of features.
    :param dim: Dimension of the latent.
    :param auxiliary_dim: Dimension of z0.
    :param hidden: Width of the layer from features and z0 to the moments of q(z|z0,x).
    :param auxiliary_hidden: Width of a layer between features and the moments of q(z0|x); 0 for none.
    """

    def __init__(self, n_features: int, dim: int, auxiliary_dim: int, hidden: int, auxiliary_hidden: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.auxiliary_layers = gaussian_layers(n_features, auxiliary_dim, auxiliary_hidden)
        self.feature_layer = nn.Linear(n_features, hidden)
        self.noise_layer = nn.Linear(auxiliary_dim, hidden, bias=False)
        self.head = GaussianHead(hidden, dim)

    def auxiliary(self, features: th.Tensor) -> Independent:
        """Return q(z0|x), with batch shape (batch,)."""
        distribution: Independent = self.auxiliary_layers(features)
        return distribution

    def conditional(self, features: th.Tensor, auxiliary: th.Tensor) -> Independent:
        """Return q(z|z0,x) for z0 of shape (batch, n, auxiliary_dim)."""
        h = self.feature_layer(features).unsqueeze(1) + self.noise_layer(auxiliary)
        distribution: Independent = self.head(F.relu(h))
        return distribution

    def sample_hierarchy(self, features: th.Tensor, n: int) -> HierarchicalSample:
        """Return latents together with the variables and densities behind them."""
        q0 = self.auxiliary(features)
        auxiliary = q0.rsample((n,))
        conditional = self.conditional(features, auxiliary.transpose(0, 1))
        log_auxiliary = q0.log_prob(auxiliary).transpose(0, 1)
        return HierarchicalSample(conditional.rsample(), auxiliary.transpose(0, 1), log_auxiliary, conditional)

    def sample(self, features: th.Tensor, n: int) -> th.Tensor:
        auxiliary = self.auxiliary(features).rsample((n,)).transpose(0, 1)
        return self.conditional(features, auxiliary).rsample()

    @th.no_grad()
    def moments(self, features: th.Tensor) -> Moments:
        """Return the moments of μ(z0, x), with the conditional's variance at the mean hidden layer added."""
        q0, weight = self.auxiliary(features), self.noise_layer.weight
        shift = self.feature_layer(features) + q0.mean @ weight.mT
        moments, hidden_mean = relu_layer_moments(shift, weight, q0.stddev, self.head.mean)
        variance = self.head.log_variance(hidden_mean).clamp(_MIN_LOG_VARIANCE, _MAX_LOG_VARIANCE).exp()
        return Moments(moments.mean, moments.covariance + th.diag_embed(variance))


class ImplicitPosterior(Posterior):
    """z = g(ε, x) + c L(x) ε' with ε, ε' ~ N(0, I): a network with one hidden layer, and noise relative to its spread.

    L is the Cholesky factor of g's covariance given x and carries no gradient. With c = 0, this is the paper's
    posterior; with c > 0, its score can be learned by denoising at the noise level of the posterior itself.

    :param n_features: Number of features.
    :param dim: Dimension of the latent.
    :param noise_dim: Dimension of ε.
    :param hidden: Width of the hidden layer.
    :param output_noise: c.
    """

    def __init__(self, n_features: int, dim: int, noise_dim: int, hidden: int, output_noise: float = 0.0) -> None:
        super().__init__()
        check_min("output_noise", output_noise, 0)
        self.dim, self.noise_dim, self.output_noise = dim, noise_dim, output_noise
        self.feature_layer = nn.Linear(n_features, hidden)
        self.noise_layer = nn.Linear(noise_dim, hidden, bias=False)  # the two act as one layer over (features, ε)
        self.output_layer = nn.Linear(hidden, dim)

    def generate(self, features: th.Tensor, n: int) -> th.Tensor:
        """Return ``n`` outputs of g per image, (batch, n, dim), attached to the graph."""
        return self._output(features, self._noise(features, n))

    def center(self, features: th.Tensor) -> th.Tensor:
        """Return g(0, x), the pseudo-mean b(x) of Appendix F.2, (batch, dim)."""
        return self._output(features, features.new_zeros(1, 1, self.noise_dim)).squeeze(1)

    def sample(self, features: th.Tensor, n: int) -> th.Tensor:
        z = self.generate(features, n)
        return self.add_noise(z, self.frame(features)) if self.output_noise else z

    def add_noise(self, z: th.Tensor, frame: AffineFrame) -> th.Tensor:
        """Return outputs of g (batch, n, dim) with the output noise, given g's frame."""
        if not self.output_noise or frame.factor is None:
            return z
        return z + self.output_noise * th.randn_like(z) @ frame.factor.mT

    def frame(self, features: th.Tensor) -> AffineFrame:
        """Return the frame in which g's outputs have mean zero and covariance I."""
        return whitening_frame(self._moments(features))

    @th.no_grad()
    def moments(self, features: th.Tensor) -> Moments:
        moments = self._moments(features)
        return Moments(moments.mean, (1 + self.output_noise**2) * moments.covariance)

    def _moments(self, features: th.Tensor) -> Moments:
        return relu_layer_moments(self.feature_layer(features), self.noise_layer.weight, None, self.output_layer).output

    def _noise(self, features: th.Tensor, n: int) -> th.Tensor:
        return th.randn(len(features), n, self.noise_dim, device=features.device)

    def _output(self, features: th.Tensor, noise: th.Tensor) -> th.Tensor:
        h = self.feature_layer(features).unsqueeze(1) + self.noise_layer(noise)
        z: th.Tensor = self.output_layer(F.relu(h))
        return z


class ResidualImplicitPosterior(ImplicitPosterior):
    """The implicit posterior of ResConv: two residual blocks, whose moments are estimated from samples."""

    _N_SAMPLES = 256

    def __init__(self, n_features: int, dim: int, noise_dim: int, hidden: int, output_noise: float = 0.0) -> None:
        super().__init__(n_features, dim, noise_dim, hidden, output_noise)
        self.feature_layer = self.noise_layer = self.output_layer = None  # type: ignore[assignment]
        self.layers = nn.Sequential(
            ResidualLinear(n_features + noise_dim, hidden), nn.ELU(), ResidualLinear(hidden, dim)
        )

    @th.no_grad()
    def _moments(self, features: th.Tensor) -> Moments:
        z = self.generate(features, self._N_SAMPLES)
        mean = z.mean(1, keepdim=True)
        return Moments(mean.squeeze(1), (z - mean).mT @ (z - mean) / (self._N_SAMPLES - 1))

    def _output(self, features: th.Tensor, noise: th.Tensor) -> th.Tensor:
        noise = noise.expand(len(features), -1, -1)
        inputs = th.cat([features.unsqueeze(1).expand(-1, noise.shape[1], -1), noise], dim=-1)
        z: th.Tensor = self.layers(inputs)
        return z
