"""Learned state-space models: how states follow from each other, and what is seen of them."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_positive
from ardae_rl.common.gaussians import normal_log_density, standard_normal_log_density
from ardae_rl.latent.networks import PictureDecoder

_LEAST_LOG_STD, _GREATEST_LOG_STD = -6.0, 1.0


class LocallyLinearDynamics(nn.Module):
    """z' = A z + B u + C w, each a mixture of matrices with weights that depend on z and u (Karl et al. 2017, Eq. 12).

    C is diagonal and positive, so that z' has the density N(A z + B u, C²).

    :param z_dim: dimension of a state
    :param act_dim: of a control
    :param n_matrices: M, of each kind
    :param hidden: widths of the network of the weights
    :param first_std: of the noise in the beginning
    """

    def __init__(
        self,
        z_dim: int,
        act_dim: int,
        n_matrices: int = 16,
        hidden: Sequence[int] = (64,),
        first_std: float = 0.1,
    ) -> None:
        super().__init__()
        for name, value in {
            "z_dim": z_dim,
            "act_dim": act_dim,
            "n_matrices": n_matrices,
            "first_std": first_std,
        }.items():
            check_positive(name, value)
        self.weights = nn.Sequential(*create_mlp(z_dim + act_dim, n_matrices, list(hidden), nn.Tanh))
        # [A, B] side by side: one product for both
        self.ab = nn.Parameter(th.eye(z_dim, z_dim + act_dim) + 0.05 * th.randn(n_matrices, z_dim, z_dim + act_dim))
        self.log_c = nn.Parameter(th.full((n_matrices, z_dim), first_std).log())

    def forward(self, z: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and ln standard deviation of z', (..., z_dim) each."""
        from_both = th.cat([z, u], -1)
        weights = self.weights(from_both).softmax(-1)
        linear = F.linear(from_both, self.ab.flatten(0, 1)).unflatten(-1, self.ab.shape[:2])  # (..., M, z_dim)
        mean = (weights.unsqueeze(-1) * linear).sum(-2)
        return mean, (weights @ self.log_c).clamp(_LEAST_LOG_STD, _GREATEST_LOG_STD)


class NeuralDynamics(nn.Module):
    """z' = z + f(z, u) + noise of a standard deviation that is the same everywhere.

    :param z_dim: dimension of a state
    :param act_dim: of a control
    :param hidden: widths of f
    :param first_std: of the noise in the beginning
    """

    def __init__(self, z_dim: int, act_dim: int, hidden: Sequence[int] = (128, 128), first_std: float = 0.1) -> None:
        super().__init__()
        for name, value in {"z_dim": z_dim, "act_dim": act_dim, "first_std": first_std}.items():
            check_positive(name, value)
        self.network = nn.Sequential(*create_mlp(z_dim + act_dim, z_dim, list(hidden), nn.ELU))
        self.log_std = nn.Parameter(th.full((z_dim,), first_std).log())

    def forward(self, z: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean and ln standard deviation of z', (..., z_dim) each."""
        mean = z + self.network(th.cat([z, u], -1))
        return mean, self.log_std.clamp(_LEAST_LOG_STD, _GREATEST_LOG_STD).expand_as(mean)


class GaussianEmission(nn.Module):
    """p(x | z) with a learned standard deviation for each dimension of x.

    :param z_dim: dimension of a state
    :param obs_dim: of an observation
    :param hidden: widths of the mean's network
    :param first_std: in the beginning
    """

    def __init__(self, z_dim: int, obs_dim: int, hidden: Sequence[int] = (128,), first_std: float = 0.3) -> None:
        super().__init__()
        check_positive("first_std", first_std)
        self.mean = nn.Sequential(*create_mlp(z_dim, obs_dim, list(hidden), nn.Tanh))
        self.log_std = nn.Parameter(th.full((obs_dim,), first_std).log())

    def forward(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """ln p(x | z), (...), of (..., z_dim) and (..., obs_dim)."""
        mean = self.mean(z)
        return normal_log_density(x, mean, self.log_std.clamp_min(_LEAST_LOG_STD).expand_as(mean))


class PictureEmission(nn.Module):
    """p(x | z) of pictures, flat, with values in [0, 1]: independent Bernoulli pixels.

    :param z_dim: dimension of a state
    :param n_pixels: of a picture
    :param hidden: widths
    """

    def __init__(self, z_dim: int, n_pixels: int, hidden: Sequence[int] = (128,)) -> None:
        super().__init__()
        self.decoder = PictureDecoder(z_dim, (n_pixels,), hidden)

    def mean(self, z: th.Tensor) -> th.Tensor:
        """(..., n_pixels)."""
        probability: th.Tensor = self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1]).sigmoid()
        return probability

    def forward(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """ln p(x | z), (...), of (..., z_dim) and (..., n_pixels)."""
        logits = self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


class LearnedSSM(nn.Module):
    """A state-space model of networks, with z_0 ~ N(0, I).

    :param dynamics: mean and ln standard deviation of z' from z and u
    :param emission: ln p(x | z), with its ``mean``
    """

    def __init__(
        self, dynamics: LocallyLinearDynamics | NeuralDynamics, emission: GaussianEmission | PictureEmission
    ) -> None:
        super().__init__()
        self.dynamics, self.emission = dynamics, emission

    def log_first(self, z: th.Tensor) -> th.Tensor:
        return standard_normal_log_density(z)

    def following(self, z: th.Tensor, u: th.Tensor, w: th.Tensor) -> th.Tensor:
        mean, log_std = self.dynamics(z, u)
        return mean + log_std.exp() * w

    def log_prior(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        mean, log_std = self.dynamics(z[:, :-1], u)
        return self.log_first(z[:, 0]) + normal_log_density(z[:, 1:], mean, log_std).sum(1)

    def log_emission(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        log_density: th.Tensor = self.emission(z, x)
        return log_density.sum(1)

    def generate(self, z: th.Tensor, u: th.Tensor, noise: bool = True) -> tuple[th.Tensor, th.Tensor]:
        """States (batch, T + 1, z_dim) from first ones (batch, z_dim), and the means of what is seen of them."""
        states = [z]
        for control in u.unbind(1):
            w = th.randn_like(z) if noise else th.zeros_like(z)
            states.append(self.following(states[-1], control, w))
        path = th.stack(states, 1)
        return path, self.emission.mean(path)
