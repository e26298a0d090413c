"""Samplers q that are trained to match the distribution of an energy."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch as th
from torch import nn

from ardae_rl.common.optional import require
from ardae_rl.ebm.proposal import DensityWithSamples
from ardae_rl.ebm.scaling import DataScale
from ardae_rl.score import ARDAE, entropy_surrogate
from ardae_rl.score.samplers import ImplicitSampler

# Importance samples, drawn in parts to save memory. Many are needed, because most of them miss narrow modes.
_N_DRAWS, _N_PARTS = 500_000, 10

EnergyFunction = Callable[[th.Tensor], th.Tensor]


class EnergySampler(DensityWithSamples, Protocol):
    """A distribution q with reparameterized samples, which is trained to match an energy."""

    def loss(self, energy: EnergyFunction, n: int) -> th.Tensor:
        """Return a scalar whose gradient is that of E_q[E(x)] - H(q), estimated from n samples."""

    def fit_scale(self, data: th.Tensor) -> None:
        """Adapt location and scale to data (n, dim), before training."""

    def update_density(self, n: int) -> None:
        """Update auxiliary estimators of q, such as its score, on n samples."""

    def normalize(self) -> None:
        """Normalize q, if its density is normalized only approximately."""

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        """Return the optimizers of the auxiliary estimators."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that :meth:`loss` trains."""


class FlowSampler(DataScale):
    """A neural spline flow, whose ln q is exact.

    :param dim: Dimension of x.
    :param n_transforms: Number of the flow's transforms.
    :param hidden: Widths of each transform's network.
    :raises ImportError: Without zuko.
    """

    def __init__(self, dim: int, n_transforms: int = 4, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(dim)
        require("zuko", "flows")
        import zuko

        self.flow = zuko.flows.NSF(dim, transforms=n_transforms, hidden_features=tuple(hidden), bins=16)

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        log_q: th.Tensor = self.flow().log_prob((x - self.center) / self._unit) - self._unit.log().sum()
        return log_q

    @th.no_grad()
    def sample(self, n: int) -> th.Tensor:
        x: th.Tensor = self.center + self._unit * self.flow().sample((n,))
        return x

    def loss(self, energy: EnergyFunction, n: int) -> th.Tensor:
        u, log_q = self.flow().rsample_and_log_prob((n,))
        return (energy(self.center + self._unit * u) + log_q).mean() - self._unit.log().sum()

    @property
    def _unit(self) -> th.Tensor:
        """The flow's unit of length, (dim,): with it, the knots from -5 to 5 span ±2.5 standard deviations."""
        return 0.5 * self.scale

    def update_density(self, n: int) -> None:
        """Do nothing: the density is exact."""

    def normalize(self) -> None:
        """Do nothing: the density is exact."""

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        return ()


class ARDAESampler(DataScale):
    """An implicit sampler x = μ + σ (z + g(z)), z ~ N(0, I), with entropy gradient and ln q estimated by AR-DAE.

    :param dim: Dimension of x.
    :param noise_dim: Dimension of z, whose first ``dim`` entries are added to g(z); None for ``dim``.
    :param hidden: Widths of the hidden layers of g.
    :param n_score_updates: Number of estimator updates per update of g.
    :param score_kwargs: Arguments of :class:`~ardae_rl.score.ARDAE`.
    :raises ValueError: If ``noise_dim`` is less than ``dim``.
    """

    log_mass: th.Tensor

    def __init__(
        self,
        dim: int,
        noise_dim: int | None = None,
        hidden: Sequence[int] = (128, 128, 128),
        n_score_updates: int = 3,
        score_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(dim)
        self.generator = ImplicitSampler(dim if noise_dim is None else noise_dim, dim, hidden, residual=True)
        defaults: dict[str, Any] = {"network_kwargs": {"hidden": (128, 128, 128)}, "learning_rate": 2e-3}
        self.estimator = ARDAE(dim, **(defaults | (score_kwargs or {})))
        self.n_score_updates = n_score_updates
        self.register_buffer("log_mass", th.zeros(()))

    def fit_scale(self, data: th.Tensor) -> None:
        super().fit_scale(data)
        self.log_mass.zero_()

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        return self.estimator.log_prob(x) - self.log_mass

    @th.no_grad()
    def sample(self, n: int) -> th.Tensor:
        return self._generate(n)

    def loss(self, energy: EnergyFunction, n: int) -> th.Tensor:
        x = self._generate(n)
        return energy(x).mean() - entropy_surrogate(x, self.estimator.score(x.detach()))

    def _generate(self, n: int) -> th.Tensor:
        x: th.Tensor = self.center + self.scale * self.generator(n)
        return x

    def update_density(self, n: int) -> None:
        for _ in range(self.n_score_updates):
            self.estimator.step(self.sample(n))

    def normalize(self) -> None:
        """Measure the remaining log-normalizer, if the estimator learns a density that is normalized approximately."""
        if self.estimator.density_is_free:
            parts = [self.estimator.log_partition_estimate(n_draws=_N_DRAWS // _N_PARTS)[0] for _ in range(_N_PARTS)]
            self.log_mass.copy_(th.cat(parts).logsumexp(0) - math.log(_N_PARTS))

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        return (self.estimator.optimizer,)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        return self.generator.parameters(recurse)


SAMPLERS: dict[str, Callable[..., EnergySampler]] = {"flow": FlowSampler, "implicit": ARDAESampler}
"""Samplers by name."""
