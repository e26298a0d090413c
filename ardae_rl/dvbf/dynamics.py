"""Learned state-space models: transitions between states, and emissions of observations."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_count
from ardae_rl.common.gaussians import normal_log_density, soft_clamp, standard_normal_log_density
from ardae_rl.latent.networks import ImageDecoder

LOG_STD_MIN, LOG_STD_MAX = -6.0, 1.0
_INITIAL_STD, _INITIAL_EMISSION_STD = 0.1, 0.3  # approximately, because of the soft bounds


class LocallyLinearDynamics(nn.Module):
    """Transitions z' = A z + B u + C w, with mixtures of matrices whose weights depend on z and u.

    C is diagonal and positive, so that z' has the density N(A z + B u, C²) (Karl et al. 2017, Eq. 12).

    :param z_dim: Dimension of a state.
    :param act_dim: Dimension of a control.
    :param n_matrices: Number M of matrices in each mixture.
    """

    def __init__(self, z_dim: int, act_dim: int, n_matrices: int = 16) -> None:
        super().__init__()
        for name, value in {"z_dim": z_dim, "act_dim": act_dim, "n_matrices": n_matrices}.items():
            check_count(name, value)
        self.weights = nn.Sequential(*create_mlp(z_dim + act_dim, n_matrices, [64], nn.Tanh))
        # [A, B] side by side: one product for both
        self.ab = nn.Parameter(th.eye(z_dim, z_dim + act_dim) + 0.05 * th.randn(n_matrices, z_dim, z_dim + act_dim))
        self.log_c = nn.Parameter(th.full((n_matrices, z_dim), _INITIAL_STD).log())

    def forward(self, z: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return mean and log standard deviation of z', (..., z_dim) each."""
        inputs = th.cat([z, u], -1)
        weights = self.weights(inputs).softmax(-1)
        linear = F.linear(inputs, self.ab.flatten(0, 1)).unflatten(-1, self.ab.shape[:2])  # (..., M, z_dim)
        mean = (weights.unsqueeze(-1) * linear).sum(-2)
        return mean, soft_clamp(weights @ self.log_c, LOG_STD_MIN, LOG_STD_MAX)


class NeuralDynamics(nn.Module):
    """Transitions z' = z + f(z, u) + noise, where the noise's standard deviation does not depend on the state.

    :param z_dim: Dimension of a state.
    :param act_dim: Dimension of a control.
    """

    def __init__(self, z_dim: int, act_dim: int) -> None:
        super().__init__()
        for name, value in {"z_dim": z_dim, "act_dim": act_dim}.items():
            check_count(name, value)
        self.network = nn.Sequential(*create_mlp(z_dim + act_dim, z_dim, [128, 128], nn.ELU))
        self.log_std = nn.Parameter(th.full((z_dim,), _INITIAL_STD).log())

    def forward(self, z: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return mean and log standard deviation of z', (..., z_dim) each."""
        mean = z + self.network(th.cat([z, u], -1))
        return mean, soft_clamp(self.log_std, LOG_STD_MIN, LOG_STD_MAX).expand_as(mean)


class GaussianEmission(nn.Module):
    """Gaussian p(x | z) with a learned standard deviation per dimension of x.

    :param z_dim: Dimension of a state.
    :param obs_dim: Dimension of an observation.
    :param hidden: Widths of the hidden layers of the mean's network.
    """

    def __init__(self, z_dim: int, obs_dim: int, hidden: Sequence[int] = (128,)) -> None:
        super().__init__()
        self.mean = nn.Sequential(*create_mlp(z_dim, obs_dim, list(hidden), nn.Tanh))
        self.log_std = nn.Parameter(th.full((obs_dim,), _INITIAL_EMISSION_STD).log())

    def forward(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """Return ln p(x | z), (...), given z (..., z_dim) and x (..., obs_dim)."""
        mean = self.mean(z)
        return normal_log_density(x, mean, soft_clamp(self.log_std, LOG_STD_MIN).expand_as(mean))


class ImageEmission(nn.Module):
    """Bernoulli p(x | z) of flattened images with values in [0, 1], whose pixels are independent given z.

    :param z_dim: Dimension of a state.
    :param n_pixels: Number of pixels of an image.
    :param hidden: Widths of the hidden layers.
    """

    def __init__(self, z_dim: int, n_pixels: int, hidden: Sequence[int] = (128,)) -> None:
        super().__init__()
        self.decoder = ImageDecoder(z_dim, (n_pixels,), hidden)

    def mean(self, z: th.Tensor) -> th.Tensor:
        """Return probabilities (..., n_pixels), given z (..., z_dim)."""
        probability: th.Tensor = self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1]).sigmoid()
        return probability

    def forward(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """Return ln p(x | z), (...), given z (..., z_dim) and x (..., n_pixels)."""
        logits = self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


class LearnedSSM(nn.Module):
    """A state-space model made of networks, with z_0 ~ N(0, I).

    It satisfies :class:`~ardae_rl.dvbf.elbo.StateSpaceModel`.

    :param dynamics: Module that returns mean and log standard deviation of z', given z and u.
    :param emission: Module that returns ln p(x | z); its method ``mean`` returns the mean of x.
    """

    def __init__(
        self, dynamics: LocallyLinearDynamics | NeuralDynamics, emission: GaussianEmission | ImageEmission
    ) -> None:
        super().__init__()
        self.dynamics, self.emission = dynamics, emission

    def log_prob_initial(self, z: th.Tensor) -> th.Tensor:
        return standard_normal_log_density(z)

    def next_state(self, z: th.Tensor, u: th.Tensor, w: th.Tensor) -> th.Tensor:
        mean, log_std = self.dynamics(z, u)
        return mean + log_std.exp() * w

    def log_prior(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        mean, log_std = self.dynamics(z[:, :-1], u)
        return self.log_prob_initial(z[:, 0]) + normal_log_density(z[:, 1:], mean, log_std).sum(1)

    def log_emission(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        log_density: th.Tensor = self.emission(z, x)
        return log_density.sum(1)

    def generate(self, z: th.Tensor, u: th.Tensor, noise: bool = True) -> tuple[th.Tensor, th.Tensor]:
        """Return states (batch, T + 1, z_dim), and the means of their observations (batch, T + 1, obs_dim).

        :param z: Initial states, (batch, z_dim).
        :param u: Controls, (batch, T, act_dim).
        :param noise: Whether to sample process noise.
        """
        states = [z]
        for control in u.unbind(1):
            w = th.randn_like(z) if noise else th.zeros_like(z)
            states.append(self.next_state(states[-1], control, w))
        path = th.stack(states, 1)
        return path, self.emission.mean(path)
