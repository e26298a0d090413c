"""Energy-based models trained as a generative adversarial network, or by Markov chains."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.common.optional import require
from ardae_rl.ebm.energy import EnergyNetwork, Standardised, langevin
from ardae_rl.ebm.losses import cost_loss, discriminator_logits, discriminator_loss
from ardae_rl.ebm.partition import PartitionFunction
from ardae_rl.runs.progress import progress_bar
from ardae_rl.score import ARDAE, entropy_surrogate
from ardae_rl.score.samplers import ImplicitSampler

SAMPLERS = ("flow", "implicit")
OBJECTIVES = ("gan", "cost")
# Shares of the steps: with instance noise, and with a sampler that learns
_NOISY, _FOLLOWING = 0.4, 0.7
# Of importance sampling, in parts for the memory's sake: of narrow modes, most draws miss
_DRAWS, _PARTS = 500_000, 10


class EnergySampler(Protocol):
    """q, which follows the energy."""

    def log_prob(self, x: th.Tensor) -> th.Tensor:
        """ln q, (n), without gradient, of points (n, dim)."""

    def sample(self, n: int) -> th.Tensor:
        """(n, dim), without gradient."""

    def loss(self, energy: Callable[[th.Tensor], th.Tensor], n: int) -> th.Tensor:
        """A scalar with the gradient of E_q[E(x)] - H(q) by n samples."""

    def observe(self, x: th.Tensor) -> None:
        """Take location and scale of the data, (n, dim)."""

    def follow(self, n: int) -> None:
        """Learn what has to be learnt of q between its steps, by n samples."""

    def normalise(self) -> None:
        """Have ln q integrate to one, where it may not."""

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        """By which it is learnt."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """That the loss trains."""


class FlowSampler(Standardised):
    """A neural spline flow: ln q is exact.

    :param dim: of x
    :param n_transforms: of the flow
    :param hidden: widths of each transform's network
    :raises ImportError: without zuko
    """

    def __init__(self, dim: int, n_transforms: int = 4, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(dim)
        require("zuko", "flows")
        import zuko

        self.flow = zuko.flows.NSF(dim, transforms=n_transforms, hidden_features=tuple(hidden), bins=16)

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        log_q: th.Tensor = self.flow().log_prob((x - self.centre) / self._unit) - self._unit.log().sum()
        return log_q

    @th.no_grad()
    def sample(self, n: int) -> th.Tensor:
        x: th.Tensor = self.centre + self._unit * self.flow().sample((n,))
        return x

    def loss(self, energy: Callable[[th.Tensor], th.Tensor], n: int) -> th.Tensor:
        u, log_q = self.flow().rsample_and_log_prob((n,))
        return (energy(self.centre + self._unit * u) + log_q).mean() - self._unit.log().sum()

    @property
    def _unit(self) -> th.Tensor:
        """The splines' knots reach from -5 to 5, which this way is 2.5 deviations."""
        return 0.5 * self.scale

    def follow(self, n: int) -> None:
        """Nothing: the density is exact."""

    def normalise(self) -> None:
        """Nothing either."""

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        return ()


class ARDAESampler(Standardised):
    """x = μ + σ (z + g(z)), z ~ N(0, I): the gradient of the entropy, and ln q, are those of an AR-DAE that follows it.

    :param dim: of x
    :param noise_dim: of z, of which the first ``dim`` are added to g's; None for ``dim``
    :param hidden: widths of g
    :param n_score_updates: of the estimator for each of g
    :param score_kwargs: of :class:`~ardae_rl.score.ARDAE`
    :raises ValueError: for less noise than dimensions
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
        usual: dict[str, Any] = {"network_kwargs": {"hidden": (128, 128, 128)}, "learning_rate": 2e-3}
        self.estimator = ARDAE(dim, **(usual | (score_kwargs or {})))
        self.n_score_updates = n_score_updates
        self.register_buffer("log_mass", th.zeros(()))

    def observe(self, x: th.Tensor) -> None:
        super().observe(x)
        self.log_mass.zero_()

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        return self.estimator.log_prob(x) - self.log_mass

    @th.no_grad()
    def sample(self, n: int) -> th.Tensor:
        return self._generate(n)

    def loss(self, energy: Callable[[th.Tensor], th.Tensor], n: int) -> th.Tensor:
        x = self._generate(n)
        return energy(x).mean() - entropy_surrogate(x, self.estimator.score(x.detach()))

    def _generate(self, n: int) -> th.Tensor:
        x: th.Tensor = self.centre + self.scale * self.generator(n)
        return x

    def follow(self, n: int) -> None:
        for _ in range(self.n_score_updates):
            self.estimator.step(self.sample(n))

    def normalise(self) -> None:
        """A density that the estimator learns normalised is so nearly; what it is off is measured here."""
        if self.estimator.density_is_free:
            parts = [self.estimator.log_partition_estimate(n_draws=_DRAWS // _PARTS)[0] for _ in range(_PARTS)]
            self.log_mass.copy_(th.cat(parts).logsumexp(0) - math.log(_PARTS))

    def optimizers(self) -> Sequence[th.optim.Optimizer]:
        return (self.estimator.optimizer,)

    def parameters(self, recurse: bool = True) -> Any:
        return self.generator.parameters(recurse)


class EnergyBasedGAN(nn.Module):
    """p_θ = e^{-E} / Z, told from samples of q by D = p_θ / (p_θ + q), while q follows p_θ.

    Reference: Finn et al. (2016), https://arxiv.org/abs/1611.03852, Section 4. ``log_prob`` is normalised by the
    partition function, which is the true one as far as p_θ is the data's distribution.

    Example::

        model = EnergyBasedGAN(dim=2, sampler="implicit")
        model.fit(data, n_steps=5000)
        model.log_prob(x), model.sample(1000)

    :param dim: of x
    :param sampler: "flow", "implicit" (with AR-DAE), or an :class:`EnergySampler`
    :param partition: of :class:`~ardae_rl.ebm.partition.PartitionFunction`
    :param objective: "gan" (the discriminator's loss) or "cost" (the negative log likelihood)
    :param defence: the share of the energy's broad Gaussian in a defensive mixture with q (Hesterberg 1995), which the
        discriminator tells the data from in the place of q: also what q misses is learnt
    :param energy_kwargs: of :class:`~ardae_rl.ebm.energy.EnergyNetwork`
    :param sampler_kwargs: of the sampler
    :raises ValueError: for arguments outside of what is accepted
    """

    def __init__(
        self,
        dim: int,
        sampler: str | EnergySampler = "flow",
        partition: str = "mixture",
        objective: str = "gan",
        defence: float = 0.25,
        energy_kwargs: dict[str, Any] | None = None,
        sampler_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_choice("objective", objective, OBJECTIVES)
        if not 0 <= defence < 1:
            raise ValueError(f"defence={defence!r}: accepted are numbers from 0 to below 1")
        if objective == "cost" and partition == "learned":
            raise ValueError("partition='learned' with objective='cost': accepted are 'mixture' and 'sampler'")
        self.objective, self.defence = objective, defence
        self.energy = EnergyNetwork(dim, **(energy_kwargs or {}))
        self.partition = PartitionFunction(partition)
        self.sampler: Any = sampler
        if isinstance(sampler, str):
            check_choice("sampler", sampler, SAMPLERS)
            kind = FlowSampler if sampler == "flow" else ARDAESampler
            self.sampler = kind(dim, **(sampler_kwargs or {}))

    def fit(
        self,
        data: th.Tensor,
        n_steps: int = 5000,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        sampler_learning_rate: float = 2e-3,
        instance_noise: float = 0.0,
        progress: bool = False,
    ) -> list[dict[str, float]]:
        """Train energy and sampler in turns; metrics of each hundredth of the steps.

        :param data: (n, dim)
        :param learning_rate: of the energy, at first; it falls to nothing along a cosine
        :param sampler_learning_rate: the same; it is at nothing earlier, and the energy has a sampler that rests
        :param instance_noise: deviation of noise in the data, in deviations of the data, which falls to nothing in the
            first 40 % of the steps (Sønderby et al. 2017, https://arxiv.org/abs/1610.04490): a sampler that follows
            finds modes that are far apart
        :raises ValueError: for data that are no finite rows, and training that diverges
        """
        _check_data(data)
        for name, value in {"n_steps": n_steps, "batch_size": batch_size}.items():
            check_positive(name, value)
        if instance_noise < 0:
            raise ValueError(f"instance_noise={instance_noise!r}: accepted are numbers from 0 up")
        self.energy.observe(data)
        self.sampler.observe(data)
        own = [*self.energy.parameters(), *self.partition.parameters()]
        optimizers = [
            th.optim.Adam(own, lr=learning_rate, betas=(0.5, 0.99)),
            th.optim.Adam(self.sampler.parameters(), lr=sampler_learning_rate, betas=(0.5, 0.99)),
        ]
        schedules = [
            _falling(optimizers[0], 0, n_steps),
            _falling(optimizers[1], 0, _FOLLOWING * n_steps),
            *(_falling(optimizer, _FOLLOWING * n_steps, n_steps) for optimizer in self.sampler.optimizers()),
        ]
        rows = []
        with progress_bar("energy: steps", n_steps, progress) as update:
            for step in range(n_steps):
                self.sampler.follow(batch_size)
                demos = data[th.randint(len(data), (batch_size,))]
                noise = instance_noise * max(0.0, 1 - step / (_NOISY * n_steps))
                if noise > 0:
                    demos = demos + noise * self.energy.scale * th.randn_like(demos)
                loss, logits = self._loss(demos, batch_size)
                _descend(optimizers[0], loss)
                _descend(optimizers[1], self.sampler.loss(self.energy, batch_size))
                for schedule in schedules:
                    schedule.step()
                if (step + 1) % max(1, n_steps // 100) == 0:
                    rows.append(_finite_row(step + 1, loss, logits, self.partition.log_z))
                    update(step + 1)
        self.normalise(data)
        return rows

    @th.no_grad()
    def normalise(self, data: th.Tensor, n_samples: int = 20_000) -> None:
        """Estimate ln Z by all of the data and many samples, and what ln q is off; a learned ln Z stays as it is."""
        self.sampler.normalise()
        at = [(self.energy(x), self._proposal_log_prob(x)) for x in (data, self._proposal(n_samples))]
        self.partition.update(*at[0], *at[1])

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        """ln p_θ, (n), of points (n, dim)."""
        return -self.energy(x) - self.partition.log_z

    def sample(self, n: int) -> th.Tensor:
        """q's samples, (n, dim)."""
        x: th.Tensor = self.sampler.sample(n)
        return x

    def _proposal(self, n: int) -> th.Tensor:
        """Points of the mixture that the discriminator tells the data from, (n, dim)."""
        n_broad = round(self.defence * n)
        return th.cat([self.sampler.sample(n - n_broad), self.energy.gaussian().sample((n_broad,))])

    def _proposal_log_prob(self, x: th.Tensor) -> th.Tensor:
        log_q: th.Tensor = self.sampler.log_prob(x)
        if self.defence == 0:
            return log_q
        log_broad = self.energy.gaussian().log_prob(x) + math.log(self.defence)
        return th.logaddexp(log_q + math.log1p(-self.defence), log_broad)

    def _loss(self, demos: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor]:
        both = th.cat([demos, self._proposal(n)])
        demo_energy, sample_energy = self.energy(both).split([len(demos), n])
        demo_log_q, sample_log_q = self._proposal_log_prob(both).split([len(demos), n])
        self.partition.update(demo_energy.detach(), demo_log_q, sample_energy.detach(), sample_log_q)
        log_z = self.partition.log_z
        demo_logits = discriminator_logits(demo_energy, demo_log_q, log_z)
        if self.objective == "cost":
            return cost_loss(demo_energy, demo_log_q, sample_energy, sample_log_q, log_z), demo_logits
        sample_logits = discriminator_logits(sample_energy, sample_log_q, log_z)
        return discriminator_loss(demo_logits, sample_logits), demo_logits


class MarkovChainEBM(nn.Module):
    """The same energy by contrastive divergence: what the sampler replaces.

    Reference: Hinton (2002), Training products of experts by minimizing contrastive divergence; persistent chains as of
    Tieleman (2008).

    :param dim: of x
    :param persistent: whether chains go on from where they were, or begin at data each time
    :param n_langevin: steps of a chain
    :param step_size: of them, in standard deviations of the data
    :param energy_kwargs: of :class:`~ardae_rl.ebm.energy.EnergyNetwork`
    """

    def __init__(
        self,
        dim: int,
        persistent: bool = False,
        n_langevin: int = 10,
        step_size: float = 0.05,
        energy_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_positive("n_langevin", n_langevin)
        check_positive("step_size", step_size)
        self.persistent, self.n_langevin, self.step_size = persistent, n_langevin, step_size
        self.energy = EnergyNetwork(dim, **(energy_kwargs or {}))

    def fit(
        self,
        data: th.Tensor,
        n_steps: int = 5000,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        energy_weight: float = 0.01,
        progress: bool = False,
    ) -> None:
        """Raise the energy of where chains go, lower that of the data.

        :param data: (n, dim)
        :param energy_weight: of the squared energies, which keeps them from drifting away
        :raises ValueError: for data that are no finite rows, and training that diverges
        """
        _check_data(data)
        self.energy.observe(data)
        step_size = self.step_size * float(data.std())
        optimizer = th.optim.Adam(self.energy.parameters(), lr=learning_rate, betas=(0.5, 0.99))
        schedule = _falling(optimizer, 0, n_steps)
        chains = data[th.randint(len(data), (batch_size,))]
        with progress_bar("energy: steps", n_steps, progress) as update:
            for step in range(n_steps):
                demos = data[th.randint(len(data), (batch_size,))]
                chains = langevin(self.energy, chains if self.persistent else demos, self.n_langevin, step_size)
                demo_energy, chain_energy = self.energy(demos), self.energy(chains)
                squares = demo_energy.square().mean() + chain_energy.square().mean()
                loss = demo_energy.mean() - chain_energy.mean()
                _descend(optimizer, loss + energy_weight * squares)
                schedule.step()
                if (step + 1) % max(1, n_steps // 100) == 0:
                    _finite_row(step + 1, loss, demo_energy, loss)
                    update(step + 1)


def _descend(optimizer: th.optim.Optimizer, loss: th.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _falling(optimizer: th.optim.Optimizer, first: float, last: float) -> th.optim.lr_scheduler.LRScheduler:
    """Along a cosine to nothing between these steps, from the optimizer's first learning rate, as often as asked."""

    def factor(step: int) -> float:
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, max(0.0, (step - first) / (last - first))))

    return th.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _check_data(data: th.Tensor) -> None:
    if data.dim() != 2 or len(data) < 2 or not bool(th.isfinite(data).all()):
        raise ValueError(f"data of shape {tuple(data.shape)}: accepted are finite rows (n, dim), n at least 2")


def _finite_row(step: int, loss: th.Tensor, logits: th.Tensor, log_z: th.Tensor) -> dict[str, float]:
    row = {"step": step, "loss": loss.item(), "demo_logit": logits.mean().item(), "log_partition": log_z.item()}
    for name, value in row.items():
        if not th.isfinite(th.tensor(value)):
            raise ValueError(f"{name} is {value} after {step} steps: training has diverged; accepted are finite values")
    return row
