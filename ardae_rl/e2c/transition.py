"""Latent dynamics that are linear around each point (Watter et al. 2015, Embed to Control)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice, check_count, check_min, check_widths
from ardae_rl.common.gaussians import kl_rank_one, kl_to_diagonal
from ardae_rl.common.linalg import matvec

MATRICES = ("rank_one", "full")
TRANSITION_SAMPLES = ("same", "resample")
MIN_DETERMINANT = 0.05  # of A = I + v rᵀ


class Linearized(NamedTuple):
    """The map z' = A z + B u + o around each of n points."""

    a: th.Tensor  # (n, d, d)
    b: th.Tensor  # (n, d, action_dim)
    offset: th.Tensor  # (n, d)
    v: th.Tensor | None = None  # (n, d), of A = I + v rᵀ
    r: th.Tensor | None = None

    def __call__(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return z' of shape (n, d), for z of shape (n, d) and u of shape (n, action_dim)."""
        return matvec(self.a, z) + matvec(self.b, u) + self.offset

    def propagate(self, mean: th.Tensor, covariance: th.Tensor, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return mean (n, d) and covariance A Σ Aᵀ (n, d, d) of z', for z with this mean and covariance Σ."""
        return self(mean, u), self.a @ covariance @ self.a.mT

    def log_determinant(self) -> th.Tensor:
        """Return ln |det A|, shape (n,)."""
        if self.v is not None and self.r is not None:
            return (1 + (self.v * self.r).sum(-1)).abs().log()
        log_determinant: th.Tensor = th.linalg.slogdet(self.a)[1]
        return log_determinant


class LocallyLinearTransition(nn.Module):
    """Dynamics whose matrices A(z), B(z) and o(z) come from a network: z' = A(z) z + B(z) u + o(z) + noise.

    A sample of z is propagated through the linearization at that same sample. Apart from the noise, z' is thus a
    function of z and u, and the pair (z, z') has the covariance Σ Aᵀ (for a fixed A). An independent draw from
    N(Aμ + Bu + o, AΣAᵀ) would have the same marginal distribution, but no covariance with z.

    Example:

    >>> import torch
    >>> from ardae_rl.e2c import LocallyLinearTransition
    >>> transition = LocallyLinearTransition(z_dim=2, action_dim=1)
    >>> transition.step(torch.zeros(5, 2), torch.ones(5, 1)).shape
    torch.Size([5, 2])

    :param z_dim: Dimension d of the latent.
    :param action_dim: Dimension of the actions.
    :param hidden: Widths of the network's hidden layers.
    :param matrix: Form of A: "rank_one" for I + v rᵀ, whose determinant 1 + v·r is kept above
        :data:`MIN_DETERMINANT`, or "full" for I plus any matrix.
    :param process_noise: Standard deviation of the noise added at each step; 0 for none.
    :raises ValueError: If an argument has a value that is not supported.
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
            check_count(name, value)
        check_widths("hidden", hidden)
        check_min("process_noise", process_noise, 0)
        self.z_dim, self.action_dim, self.matrix, self.process_noise = z_dim, action_dim, matrix, process_noise
        n_matrix = 2 * z_dim if matrix == "rank_one" else z_dim**2
        self._sizes = [n_matrix, z_dim * action_dim, z_dim]
        self.network = nn.Sequential(*create_mlp(z_dim, sum(self._sizes), list(hidden)))
        with th.no_grad():  # start near z' = z, because states change little in a step
            for parameter in self.network[-1].parameters():
                parameter.mul_(0.1)

    def forward(self, z: th.Tensor) -> Linearized:
        """Return the linearizations around points z, (n, z_dim)."""
        matrix, b, offset = self.network(z).split(self._sizes, -1)
        b = b.unflatten(-1, (self.z_dim, self.action_dim))
        identity = th.eye(self.z_dim, dtype=z.dtype, device=z.device)
        if self.matrix == "full":
            return Linearized(identity + matrix.unflatten(-1, (self.z_dim, self.z_dim)), b, offset)
        v, r = matrix.chunk(2, -1)
        v = _with_determinant(v, r)
        return Linearized(identity + v.unsqueeze(-1) * r.unsqueeze(-2), b, offset, v, r)

    def step(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return samples of z', given samples z (n, z_dim) and actions u (n, action_dim)."""
        return self.add_process_noise(self(z)(z, u))

    def add_process_noise(self, next_state: th.Tensor) -> th.Tensor:
        """Return ``next_state`` with process noise added, if there is any."""
        return next_state + self.process_noise * th.randn_like(next_state) if self.process_noise else next_state

    def propagate(
        self, linearized: Linearized, mean: th.Tensor, covariance: th.Tensor, u: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Return mean (n, d) and covariance A Σ Aᵀ + H (n, d, d) of z', where H is the covariance of the noise."""
        next_state, covariance = linearized.propagate(mean, covariance, u)
        noise = self.process_noise**2 * th.eye(self.z_dim, dtype=mean.dtype, device=mean.device)
        return next_state, covariance + noise

    def transitions(
        self, mean: th.Tensor, log_std: th.Tensor, u: th.Tensor, kind: str = "same", noise: th.Tensor | None = None
    ) -> tuple[th.Tensor, th.Tensor, Linearized]:
        """Sample z ~ N(mean, diag e^(2 log_std)) and z', each (n, d); return them with the linearization around z.

        :param kind: "same" propagates the sample z itself; "resample" draws z' from N(Aμ + Bu + o, AΣAᵀ), independent
            of z.
        :param noise: ε in z = mean + e^log_std ε; drawn if None.
        """
        check_choice("kind", kind, TRANSITION_SAMPLES)
        z = mean + log_std.exp() * (th.randn_like(mean) if noise is None else noise)
        linearized = self(z)
        source = z if kind == "same" else mean + log_std.exp() * th.randn_like(mean)
        return z, self.add_process_noise(linearized(source, u)), linearized

    def kl(
        self,
        linearized: Linearized,
        mean: th.Tensor,
        log_std: th.Tensor,
        u: th.Tensor,
        other_mean: th.Tensor,
        other_log_std: th.Tensor,
    ) -> th.Tensor:
        """Return KL(N(Aμ + Bu + o, AΣAᵀ + H) || N(other_mean, diag e^(2 other_log_std))), (n,).

        H is the covariance of the process noise.
        """
        if linearized.v is not None and linearized.r is not None and not self.process_noise:
            next_state = linearized(mean, u)
            return kl_rank_one(next_state, log_std, linearized.v, linearized.r, other_mean, other_log_std)
        propagated = self.propagate(linearized, mean, th.diag_embed((2 * log_std).exp()), u)
        return kl_to_diagonal(*propagated, other_mean, other_log_std)


def _with_determinant(v: th.Tensor, r: th.Tensor) -> th.Tensor:
    """Return v moved along r so that 1 + v·r > :data:`MIN_DETERMINANT`.

    If 1 + v·r is far above the bound, v hardly changes; v = 0 does not change at all.
    """
    product = (v * r).sum(-1, keepdim=True)
    room = 1 - MIN_DETERMINANT
    bounded = F.softplus(product + math.log(math.expm1(room))) - room  # > -room, and 0 where the product is
    return v + (bounded - product) * r / r.square().sum(-1, keepdim=True).clamp_min(1e-12)
