"""Samplers of a point in R^d without a closed density, and two ways to the gradient of their entropy."""

from collections.abc import Iterable, Mapping, Sequence

import torch as th
from torch import nn
from torch.distributions import Independent, Normal
from torch.optim.lr_scheduler import LRScheduler

from ardae_rl.common.training import Stateful
from ardae_rl.score import ARDAE, entropy_surrogate


class ConditionalGaussian(nn.Module):
    """N(μ(c), diag σ²(c)) with one network for both.

    :param condition_dim: dimension of c
    :param dim: dimension of the variable
    :param hidden: widths
    :param least_log_variance: bound of ln σ² from below
    """

    def __init__(
        self, condition_dim: int, dim: int, hidden: Sequence[int], least_log_variance: float = -th.inf
    ) -> None:
        super().__init__()
        self.least_log_variance = least_log_variance
        self.trunk = _trunk(condition_dim, hidden)
        self.mean = nn.Linear(hidden[-1], dim)
        self.log_variance = nn.Linear(hidden[-1], dim)

    def forward(self, condition: th.Tensor) -> Independent:
        """:param condition: (n, condition_dim)"""
        h = self.trunk(condition)
        log_variance = self.log_variance(h).clamp(min=self.least_log_variance)
        normal = Normal(self.mean(h), (0.5 * log_variance).exp(), validate_args=False)
        return Independent(normal, 1, validate_args=False)


class ImplicitSampler(nn.Module):
    """x = g(z) with z ~ N(0, I).

    :param noise_dim: dimension of z
    :param dim: dimension of x
    :param hidden: widths of g
    :param residual: add the first ``dim`` of z to g, which is 0 at first
    :raises ValueError: for a residual of less noise than dimensions
    """

    def __init__(self, noise_dim: int, dim: int, hidden: Sequence[int], residual: bool = False) -> None:
        super().__init__()
        if residual and noise_dim < dim:
            raise ValueError(f"noise_dim={noise_dim!r}: accepted are numbers from dim={dim} up")
        self.noise_dim, self.dim, self.residual = noise_dim, dim, residual
        output_layer = nn.Linear(hidden[-1], dim)
        if residual:
            nn.init.zeros_(output_layer.weight)
            nn.init.zeros_(output_layer.bias)
        self.generator = nn.Sequential(_trunk(noise_dim, hidden), output_layer)

    def forward(self, n: int) -> th.Tensor:
        """Samples, (n, dim)."""
        z = th.randn(n, self.noise_dim)
        x: th.Tensor = self.generator(z)
        return x + z[:, : self.dim] if self.residual else x


class HierarchicalSampler(nn.Module):
    """x ~ N(μ(z), diag σ²(z)) with z ~ N(0, I).

    :param noise_dim: dimension of z
    :param dim: dimension of x
    :param hidden: widths of the network of μ and ln σ²
    :param least_log_variance: bound of ln σ² from below
    """

    def __init__(self, noise_dim: int, dim: int, hidden: Sequence[int], least_log_variance: float = -th.inf) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.conditional = ConditionalGaussian(noise_dim, dim, hidden, least_log_variance)

    def forward(self, n: int) -> th.Tensor:
        """Samples, (n, dim)."""
        x: th.Tensor = self.conditional(th.randn(n, self.noise_dim)).rsample()
        return x


Sampler = ImplicitSampler | HierarchicalSampler


class EntropyBound:
    """The lower bound of a sampler's entropy by h(z | x) (Agakov and Barber 2004; Lim et al. 2020, Eq. 4).

    H(p(x)) ≥ -E[ln p(x | z) + ln p(z) - ln h(z | x)], with equality where h is the posterior of z.

    :param sampler: whose entropy it is
    :param posterior: h, to be trained with the sampler and for the same objective
    """

    def __init__(self, sampler: HierarchicalSampler, posterior: ConditionalGaussian) -> None:
        self.sampler, self.posterior = sampler, posterior

    def __call__(self, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Samples (n, dim), and the bound."""
        z = th.randn(n, self.sampler.noise_dim)
        conditional = self.sampler.conditional(z)
        x = conditional.rsample()
        log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
        return x, (self.posterior(x).log_prob(z) - conditional.log_prob(x) - log_prior).mean()

    def trained_with_sampler(self) -> Iterable[nn.Parameter]:
        return self.posterior.parameters()

    def parts(self) -> Mapping[str, Stateful]:
        return {"posterior": self.posterior}


class EntropyGradient:
    """The gradient of a sampler's entropy by AR-DAE, which follows the sampler with a few updates before each of its.

    :param sampler: whose entropy it is
    :param estimator: of the score
    :param schedule: of the estimator's learning rate, one step for each update of the sampler
    :param n_score_updates: the paper's N_d
    """

    def __init__(self, sampler: Sampler, estimator: ARDAE, schedule: LRScheduler, n_score_updates: int) -> None:
        self.sampler, self.estimator, self.schedule = sampler, estimator, schedule
        self.n_score_updates = n_score_updates

    def __call__(self, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Samples (n, dim), and a scalar that has the gradient of the entropy; the estimator is updated before."""
        with th.no_grad():
            batches = self.sampler(self.n_score_updates * n).split(n)
        for batch in batches:
            self.estimator.step(batch)
        self.schedule.step()
        x = self.sampler(n)
        return x, entropy_surrogate(x, self.estimator.score(x.detach()))

    def trained_with_sampler(self) -> Iterable[nn.Parameter]:
        return []

    def parts(self) -> Mapping[str, Stateful]:
        estimator = self.estimator
        return {"estimator": estimator, "estimator_optimizer": estimator.optimizer, "score_schedule": self.schedule}


def _trunk(n_in: int, hidden: Sequence[int]) -> nn.Sequential:
    """Hidden layers with the variance-preserving initialisation.

    With torch's default one, a network this deep starts as almost a linear map and is slow to learn to bend.
    """
    layers: list[nn.Module] = []
    for width_in, width in zip((n_in, *hidden), hidden, strict=False):
        layer = nn.Linear(width_in, width)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers)
