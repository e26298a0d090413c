"""Energy-based models trained as generative adversarial networks."""

from typing import Any

import torch as th
from torch import nn

from ardae_rl.common.checks import check_between, check_choice, check_count, check_min
from ardae_rl.common.finite import check_all_finite
from ardae_rl.ebm.energy import EnergyNetwork
from ardae_rl.ebm.losses import OBJECTIVES, energy_loss
from ardae_rl.ebm.partition import PartitionFunction
from ardae_rl.ebm.proposal import DefensiveMixture
from ardae_rl.ebm.samplers import SAMPLERS, EnergySampler
from ardae_rl.ebm.training import ADAM_BETAS, check_data, cosine_decay, finite_metrics, gradient_step, random_batch
from ardae_rl.runs.progress import progress_bar
from ardae_rl.score.inputs import as_numbers


class EnergyBasedGAN(nn.Module):
    """A normalized density p_θ = e^{-E} / Z of data, learned together with its sampler q.

    The discriminator D = p_θ / (p_θ + q) separates data from samples of q, and q is trained to match p_θ.
    Reference: Finn et al. (2016), https://arxiv.org/abs/1611.03852, Section 4. ``log_prob`` is normalized by the
    discriminator's Z, which is the true partition function if p_θ is the data's distribution.

    Example:

    >>> import torch
    >>> from ardae_rl import EnergyBasedGAN
    >>> data = 0.5 * torch.randn(1000, 2) + 1
    >>> model = EnergyBasedGAN(dim=2, sampler="implicit")
    >>> metrics = model.fit(data, n_steps=10, batch_size=64)  # real training takes thousands of steps
    >>> model.log_prob(data).shape, model.sample(5).shape
    (torch.Size([1000]), torch.Size([5, 2]))

    :param dim: Dimension of the data.
    :param sampler: "flow" (needs zuko), "implicit" (an implicit sampler with AR-DAE), or an
        :class:`~ardae_rl.ebm.samplers.EnergySampler`.
    :param partition: Kind of :class:`~ardae_rl.ebm.partition.PartitionFunction`.
    :param objective: Loss of the energy: "gan" (the discriminator's) or "cost" (the negative log-likelihood of guided
        cost learning).
    :param defensive_weight: Weight of a broad Gaussian in the proposal mixture, in [0, 1). The discriminator contrasts
        data with this mixture instead of q alone, so that regions that q misses are still learned.
    :param energy_kwargs: Arguments of :class:`~ardae_rl.ebm.energy.EnergyNetwork`.
    :param sampler_kwargs: Arguments of the named sampler.
    :raises ValueError: If an argument has a value that is not supported.
    """

    sampler: EnergySampler

    def __init__(
        self,
        dim: int,
        sampler: str | EnergySampler = "flow",
        partition: str = "mixture",
        objective: str = "gan",
        defensive_weight: float = 0.25,
        energy_kwargs: dict[str, Any] | None = None,
        sampler_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_choice("objective", objective, OBJECTIVES)
        check_min("defensive_weight", defensive_weight, 0)
        if not defensive_weight < 1:
            raise ValueError(f"`defensive_weight` must be < 1, got {defensive_weight!r}")
        if objective == "cost" and partition == "learned":
            raise ValueError("`partition` must be 'mixture' or 'sampler' for the objective 'cost', got 'learned'")
        self.dim, self.objective, self.defensive_weight = dim, objective, defensive_weight
        self.energy = EnergyNetwork(dim, **(energy_kwargs or {}))
        self.partition = PartitionFunction(partition)
        if isinstance(sampler, str):
            check_choice("sampler", sampler, SAMPLERS)
            sampler = SAMPLERS[sampler](dim, **(sampler_kwargs or {}))
        self.sampler = sampler

    def fit(
        self,
        data: th.Tensor,
        n_steps: int = 5000,
        batch_size: int = 512,
        learning_rate: float = 3e-3,
        sampler_learning_rate: float = 2e-3,
        instance_noise: float = 0.0,
        noise_fraction: float = 0.4,
        sampler_fraction: float = 0.7,
        progress: bool = False,
    ) -> list[dict[str, float]]:
        """Update energy and sampler alternately, and return metrics from about a hundred points of the training.

        Each row has "step", "loss", "log_partition" (ln Z) and "demo_logit" (mean logit of the data).

        :param data: Data, (n, dim), as an array or a tensor.
        :param n_steps: Number of updates of the energy, and of the sampler.
        :param batch_size: Number of data points, and of samples, per update.
        :param learning_rate: Initial learning rate of the energy, annealed to zero along a cosine.
        :param sampler_learning_rate: Initial learning rate of the sampler, annealed to zero along a shorter cosine.
        :param instance_noise: Initial standard deviation of noise that is added to the data, in standard deviations of
            the data, annealed linearly to zero (Sønderby et al. 2017, https://arxiv.org/abs/1610.04490). It helps the
            sampler to find modes that are far apart.
        :param noise_fraction: Fraction of the steps after which the instance noise is zero.
        :param sampler_fraction: Fraction of the steps after which the sampler's learning rate is zero, so that the
            energy converges against a fixed sampler.
        :param progress: Whether to show a progress bar.
        :raises ValueError: If the data has another shape or is not finite, or training diverges.
        :raises TypeError: If the data is not an array of numbers.
        """
        data = as_numbers("data", data, self._like)
        check_data(data, self.dim)
        check_count("n_steps", n_steps)
        check_count("batch_size", batch_size)
        check_min("instance_noise", instance_noise, 0)
        check_between("noise_fraction", noise_fraction, 0, 1)
        check_between("sampler_fraction", sampler_fraction, 0, 1)
        self.energy.fit_scale(data)
        self.sampler.fit_scale(data)
        trained = [*self.energy.parameters(), *self.partition.parameters()]
        energy_optimizer = th.optim.Adam(trained, lr=learning_rate, betas=ADAM_BETAS)
        sampler_optimizer = th.optim.Adam(self.sampler.parameters(), lr=sampler_learning_rate, betas=ADAM_BETAS)
        sampler_end = sampler_fraction * n_steps
        schedules = [
            cosine_decay(energy_optimizer, 0, n_steps),
            cosine_decay(sampler_optimizer, 0, sampler_end),
            *(cosine_decay(optimizer, sampler_end, n_steps) for optimizer in self.sampler.optimizers()),
        ]
        noise_end = noise_fraction * n_steps
        rows = []
        with progress_bar("energy: steps", n_steps, progress) as update:
            for step in range(n_steps):
                self.sampler.update_density(batch_size)
                batch = random_batch(data, batch_size)
                if instance_noise > 0 and step < noise_end:
                    noise = instance_noise * (1 - step / noise_end)
                    batch = batch + noise * self.energy.scale * th.randn_like(batch)
                loss, logits = self.energy_loss(batch)
                gradient_step(energy_optimizer, loss)
                gradient_step(sampler_optimizer, self.sampler.loss(self.energy, batch_size))
                for schedule in schedules:
                    schedule.step()
                if (step + 1) % max(1, n_steps // 100) == 0:
                    log_z = self.partition.log_z
                    rows.append(finite_metrics(step + 1, loss=loss, demo_logit=logits.mean(), log_partition=log_z))
                    update(step + 1)
        self.normalize(data)
        return rows

    def energy_loss(self, data: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return the loss of the energy on data (n, dim) and n proposals, and the data's logits, (n,).

        Unless the partition function is learned, this updates its estimate.
        """
        both = th.cat([data, self.proposal.sample(len(data))])
        data_energy, sample_energy = self.energy(both).split(len(data))
        data_log_q, sample_log_q = self.proposal.log_prob(both).split(len(data))
        self.partition.update(data_energy.detach(), data_log_q, sample_energy.detach(), sample_log_q)
        terms = data_energy, data_log_q, sample_energy, sample_log_q, self.partition.log_z
        loss, data_logits, _ = energy_loss(self.objective, *terms)
        return loss, data_logits

    @property
    def proposal(self) -> DefensiveMixture:
        """The distribution that the discriminator separates data from."""
        return DefensiveMixture(self.sampler, self.energy.gaussian(), self.defensive_weight)

    @th.no_grad()
    def normalize(self, data: th.Tensor, n_samples: int = 20_000) -> None:
        """Normalize the sampler's density, then estimate ln Z from all of the data and many proposals.

        A learned ln Z is left unchanged.

        :param data: Data, (n, dim).
        :param n_samples: Number of proposals.
        """
        data = as_numbers("data", data, self._like)
        check_data(data, self.dim)
        self.sampler.normalize()
        samples = self.proposal.sample(n_samples)
        self.partition.update(
            self.energy(data), self.proposal.log_prob(data), self.energy(samples), self.proposal.log_prob(samples)
        )

    @th.no_grad()
    def log_prob(self, x: th.Tensor) -> th.Tensor:
        """Return ln p_θ, (n,), at points (n, dim).

        :raises ValueError: If the points have another shape or are not finite.
        """
        x = as_numbers("x", x, self._like)
        if x.dim() != 2 or x.shape[1] != self.dim:
            raise ValueError(f"`x` must have shape (n, {self.dim}), got {tuple(x.shape)}")
        check_all_finite("x", x)
        return -self.energy(x) - self.partition.log_z

    def sample(self, n: int) -> th.Tensor:
        """Return n samples of q, (n, dim)."""
        check_count("n", n)
        return self.sampler.sample(n)

    @property
    def _like(self) -> th.Tensor:
        """A tensor with the model's dtype and device."""
        return next(self.parameters(), self.partition.log_z)  # an energy need not have parameters
