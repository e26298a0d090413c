"""Maximum entropy under moment constraints: the constraints with their penalty, and the two kinds of model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch as th
import zuko
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence


class Model(NamedTuple):
    """The functions of a trained model that are evaluated."""

    sample: Callable[[int], th.Tensor]  # returns n samples (n, dim)
    entropy: Callable[[int], tuple[float, float]]  # returns H, estimated with n samples, and their fraction in folds


@dataclass(frozen=True)
class MomentConstraints:
    """E[x] = m and Var(x) = C = BᵀB. The distribution with the largest entropy that satisfies them is N(m, C).

    :param mean: m, (dim,).
    :param factor: B, (dim, dim), not singular.
    """

    mean: th.Tensor
    factor: th.Tensor

    @classmethod
    def draw(cls, dim: int) -> "MomentConstraints":
        """Draw m and the entries of B from N(0, 1) (Lim et al. 2020, Section 6.4)."""
        return cls(th.randn(dim), th.randn(dim, dim))

    @cached_property
    def covariance(self) -> th.Tensor:
        return self.factor.t() @ self.factor

    @cached_property
    def solution(self) -> MultivariateNormal:
        """Return N(m, C) in double precision, because C may be close to singular."""
        factor = self.factor.double()
        return MultivariateNormal(self.mean.double(), factor.t() @ factor)

    def violations(self, x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return c_1 = ‖m̃ - m‖ and c_2 = ‖C̃ - C‖_F of the moments of samples x, (n, dim)."""
        return (x.mean(0) - self.mean).norm(), (th.cov(x.t()) - self.covariance).norm()

    def penalty(self, x: th.Tensor) -> th.Tensor:
        """Return c_1² + c_2² of a batch (n, dim).

        Its expectation differs from the penalty of the distribution by the variance of the sample moments, which is
        smaller for a narrower distribution with lighter tails. The minimum is therefore not exactly at the constraints.
        """
        mean_error, covariance_error = x.mean(0) - self.mean, th.cov(x.t()) - self.covariance
        return mean_error.square().sum() + covariance_error.square().sum()

    def moment_divergence(self, x: th.Tensor) -> float:
        """Return KL(N(m̃, C̃) ‖ N(m, C)) of the sample's moments, in nats: their error in units of the constraints."""
        x = x.double()
        return float(kl_divergence(MultivariateNormal(x.mean(0), th.cov(x.t())), self.solution))


class SmoothSampler(nn.Module):
    """Sampler x = g(z), z ~ N(0, I), with a smooth g: no tractable density, but a Jacobian everywhere.

    :param dim: Dimension of x.
    :param noise_dim: Dimension of z.
    :param width: Width of the two hidden layers.
    """

    def __init__(self, dim: int, noise_dim: int, width: int):
        super().__init__()
        self.noise_dim = noise_dim
        self.network = nn.Sequential(
            nn.Linear(noise_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dim)
        )

    def forward(self, n: int) -> th.Tensor:
        """Return n samples, (n, dim)."""
        x: th.Tensor = self.network(th.randn(n, self.noise_dim))
        return x

    @th.no_grad()
    def entropy(self, n: int) -> tuple[float, float]:
        """Return H(z) + E ln|det ∂g/∂z|, estimated with n samples, and an indicator of folds, for noise_dim = dim.

        The first is the entropy of x if g is one-to-one, and an upper bound on it if g folds. The second is the
        fraction of z at which the determinant has its rarer sign: zero without folds.
        """
        z = th.randn(n, self.noise_dim)
        sign, log_volume = th.linalg.slogdet(th.func.vmap(th.func.jacfwd(self.network))(z).double())
        noise_entropy = 0.5 * self.noise_dim * (1 + math.log(2 * math.pi))
        positive = (sign > 0).double().mean()
        return noise_entropy + float(log_volume.mean()), float(th.minimum(positive, 1 - positive))


def inverse_autoregressive_flow(dim: int, n_transforms: int, width: int) -> nn.Module:
    """Return an inverse autoregressive flow (Kingma et al. 2016): samples and their log-density in a single pass.

    It consists of inverted masked autoregressive transforms, so that the direction from noise to samples is the
    parallel one. The order of the dimensions is reversed from one transform to the next.

    :param width: Width of the two hidden layers of each transform's residual network.
    :return: Module that returns the distribution when called.
    """
    masked = zuko.flows.MAF(dim, transforms=n_transforms, hidden_features=(width, width), residual=True)
    flow: nn.Module = zuko.lazy.Flow([transform.inv for transform in masked.transform.transforms], masked.base)
    return flow


def flow_samples(flow: nn.Module, n: int) -> th.Tensor:
    """Return n samples without gradient, (n, dim)."""
    x: th.Tensor = flow().sample((n,))
    return x


@th.no_grad()
def flow_entropy(flow: nn.Module, n: int) -> tuple[float, float]:
    """Return -E ln p, estimated with n samples, and the fraction in folds, which is zero for a flow."""
    return -float(flow().rsample_and_log_prob((n,))[1].double().mean()), 0.0


class Whitening(nn.Module):
    """Coordinates y = L⁻¹(x - μ) in which a changing distribution has, up to a lag, mean zero and covariance I.

    Entropy gradients pass through it unchanged, because H(x) = H(y) + ln det L with a constant L.

    :param horizon: Number of batches over which the moments are averaged.
    """

    mean: th.Tensor
    covariance: th.Tensor
    factor: th.Tensor  # L, lower triangular, L Lᵀ = covariance
    count: th.Tensor

    def __init__(self, dim: int, horizon: int = 50):
        super().__init__()
        self.horizon = horizon
        self.register_buffer("mean", th.zeros(dim))
        self.register_buffer("covariance", th.eye(dim))
        self.register_buffer("factor", th.eye(dim))
        self.register_buffer("count", th.zeros(()))

    @th.no_grad()
    def update(self, x: th.Tensor) -> None:
        """Update the moments with a batch (n, dim), where n is larger than dim."""
        self.count += 1
        weight = th.clamp(1 / self.count, min=1 / self.horizon)
        self.mean.lerp_(x.mean(0), weight)
        centered = x - self.mean
        self.covariance.lerp_(centered.t() @ centered / len(x), weight)
        self.factor.copy_(th.linalg.cholesky(self.covariance))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return y for points x, both (n, dim)."""
        y: th.Tensor = th.linalg.solve_triangular(self.factor, (x - self.mean).t(), upper=False).t()
        return y

    @property
    def log_volume(self) -> th.Tensor:
        """Return ln det L, which equals H(x) - H(y)."""
        return self.factor.diagonal().log().sum()
