"""Latent dynamics that are linear around each point (Watter et al. 2015, Embed to Control)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.common.gaussians import kl_rank_one, kl_to_diagonal

MATRICES = ("rank_one", "full")
TRANSITION_SAMPLES = ("same", "resample")
LEAST_DETERMINANT = 0.05  # of A = I + v rᵀ


class Linearised(NamedTuple):
    """z' = A z + B u + o around n points."""

    a: th.Tensor  # (n, d, d)
    b: th.Tensor  # (n, d, action_dim)
    offset: th.Tensor  # (n, d)
    v: th.Tensor | None = None  # (n, d), of A = I + v rᵀ
    r: th.Tensor | None = None

    def __call__(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """z', (n, d), of (n, d) and (n, action_dim), anywhere."""
        return _times(self.a, z) + _times(self.b, u) + self.offset

    def push(self, mean: th.Tensor, covariance: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Mean, (n, d), and covariance A Σ Aᵀ, (n, d, d), of z' for a Gaussian z of mean and covariance Σ."""
        return self(mean, u), self.a @ covariance @ self.a.mT

    def log_determinant(self) -> th.Tensor:
        """ln |det A|, (n)."""
        if self.v is not None and self.r is not None:
            return (1 + (self.v * self.r).sum(-1)).abs().log()
        log_determinant: th.Tensor = th.linalg.slogdet(self.a)[1]
        return log_determinant


class LocallyLinearTransition(nn.Module):
    """A(z), B(z) and o(z) from a network: z' = A(z) z + B(z) u + o(z) + noise.

    A sample of z is pushed through the linearisation at this very sample. That makes z' a function of z and u, and the
    pair (z, z') has the covariance Σ Aᵀ (for a fixed A); a fresh draw from N(Aμ + Bu + o, AΣAᵀ) in place of it has the
    same marginal, but no covariance with z.

    :param z_dim: dimension d of the latent
    :param action_dim: dimension of the actions
    :param hidden: widths of the network's layers
    :param matrix: of A: "rank_one" for I + v rᵀ, whose determinant 1 + v·r is kept above :data:`LEAST_DETERMINANT`, or
        "full" for I plus any matrix
    :param process_noise: standard deviation of the noise, fresh in each step; 0 for none
    :raises ValueError: for arguments outside of what is accepted
    """

    def __init__(
        self,
        z_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (100, 100),
        matrix: str = "rank_one",
        process_noise: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice("matrix", matrix, MATRICES)
        for name, value in {"z_dim": z_dim, "action_dim": action_dim}.items():
            check_positive(name, value)
        if not process_noise >= 0:
            raise ValueError(f"process_noise={process_noise!r}: accepted are numbers from 0 up")
        self.z_dim, self.action_dim, self.matrix, self.process_noise = z_dim, action_dim, matrix, process_noise
        n_matrix = 2 * z_dim if matrix == "rank_one" else z_dim**2
        self._sizes = [n_matrix, z_dim * action_dim, z_dim]
        self.network = nn.Sequential(*create_mlp(z_dim, sum(self._sizes), list(hidden)))
        with th.no_grad():  # near z' = z at first: little changes in a step
            for parameter in self.network[-1].parameters():
                parameter.mul_(0.1)

    def forward(self, z: th.Tensor) -> Linearised:
        """Around points (n, z_dim)."""
        matrix, b, offset = self.network(z).split(self._sizes, -1)
        b = b.unflatten(-1, (self.z_dim, self.action_dim))
        identity = th.eye(self.z_dim, dtype=z.dtype, device=z.device)
        if self.matrix == "full":
            return Linearised(identity + matrix.unflatten(-1, (self.z_dim, self.z_dim)), b, offset)
        v, r = matrix.chunk(2, -1)
        v = _with_determinant(v, r)
        return Linearised(identity + v.unsqueeze(-1) * r.unsqueeze(-2), b, offset, v, r)

    def step(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """z' of samples z, (n, z_dim), with fresh noise, if there is any."""
        return self.noisy(self(z)(z, u))

    def noisy(self, following: th.Tensor) -> th.Tensor:
        """With fresh noise, if there is any."""
        return following + self.process_noise * th.randn_like(following) if self.process_noise else following

    def push(
        self, linearised: Linearised, mean: th.Tensor, covariance: th.Tensor, u: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Mean, (n, d), and covariance A Σ Aᵀ + H, (n, d, d); H is the noise's."""
        following, covariance = linearised.push(mean, covariance, u)
        noise = self.process_noise**2 * th.eye(self.z_dim, dtype=mean.dtype, device=mean.device)
        return following, covariance + noise

    def transitions(
        self, mean: th.Tensor, log_std: th.Tensor, u: th.Tensor, kind: str = "same", noise: th.Tensor | None = None
    ) -> tuple[th.Tensor, th.Tensor, Linearised]:
        """Draws of z and z', (n, d) each, for z ~ N(mean, diag e^(2 log_std)), and the linearisation around z.

        :param kind: "same" pushes the sample z itself; "resample" draws z' from N(Aμ + Bu + o, AΣAᵀ), independent of z
        :param noise: ε of z = mean + e^log_std ε; fresh if None
        """
        check_choice("kind", kind, TRANSITION_SAMPLES)
        z = mean + log_std.exp() * (th.randn_like(mean) if noise is None else noise)
        linearised = self(z)
        source = z if kind == "same" else mean + log_std.exp() * th.randn_like(mean)
        return z, self.noisy(linearised(source, u)), linearised

    def kl(
        self,
        linearised: Linearised,
        mean: th.Tensor,
        log_std: th.Tensor,
        u: th.Tensor,
        other_mean: th.Tensor,
        other_log_std: th.Tensor,
    ) -> th.Tensor:
        """KL of N(Aμ + Bu + o, AΣAᵀ + H) to another Gaussian with a diagonal covariance, (n); H is the noise's."""
        if linearised.v is not None and linearised.r is not None and not self.process_noise:
            following = linearised(mean, u)
            return kl_rank_one(following, log_std, linearised.v, linearised.r, other_mean, other_log_std)
        pushed = self.push(linearised, mean, th.diag_embed((2 * log_std).exp()), u)
        return kl_to_diagonal(*pushed, other_mean, other_log_std)


def _with_determinant(v: th.Tensor, r: th.Tensor) -> th.Tensor:
    """v moved along r so that 1 + v·r > :data:`LEAST_DETERMINANT`; nearly the same where it is far above, and v = 0
    stays."""
    product = (v * r).sum(-1, keepdim=True)
    room = 1 - LEAST_DETERMINANT
    wanted = F.softplus(product + math.log(math.expm1(room))) - room  # > -room, and 0 where the product is
    return v + (wanted - product) * r / r.square().sum(-1, keepdim=True).clamp_min(1e-12)


def _times(matrix: th.Tensor, vector: th.Tensor) -> th.Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)
