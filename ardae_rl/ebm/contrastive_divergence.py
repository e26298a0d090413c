"""Energy-based models trained with Markov chains."""

from typing import Any

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count, check_min, check_positive
from ardae_rl.ebm.energy import EnergyNetwork
from ardae_rl.ebm.langevin import langevin
from ardae_rl.ebm.training import ADAM_BETAS, check_data, cosine_decay, finite_metrics, gradient_step, random_batch
from ardae_rl.runs.progress import progress_bar
from ardae_rl.score.inputs import Numbers, as_numbers


class MarkovChainEBM(nn.Module):
    """An energy trained by contrastive divergence, the baseline of :class:`~ardae_rl.ebm.gan.EnergyBasedGAN`.

    The chains follow Langevin dynamics. The density is not normalized. References: Hinton (2002), Training products of
    experts by minimizing contrastive divergence; Tieleman (2008) for persistent chains.

    Example:

    >>> import torch
    >>> from ardae_rl.ebm import MarkovChainEBM
    >>> data = 0.5 * torch.randn(1000, 2) + 1
    >>> model = MarkovChainEBM(dim=2, persistent=True)
    >>> model.fit(data, n_steps=10, batch_size=64)  # real training takes thousands of steps
    >>> model.energy(data).shape
    torch.Size([1000])

    :param dim: Dimension of the data.
    :param persistent: Whether chains continue from their last states; otherwise they start at data points in each
        update.
    :param n_langevin: Number of Langevin steps of each chain per update.
    :param step_size: Langevin step size, in standard deviations of the data in each dimension.
    :param energy_kwargs: Arguments of :class:`~ardae_rl.ebm.energy.EnergyNetwork`.
    :raises ValueError: If a number is not positive.
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
        check_count("n_langevin", n_langevin)
        check_positive("step_size", step_size)
        self.dim, self.persistent, self.n_langevin, self.step_size = dim, persistent, n_langevin, step_size
        self.energy = EnergyNetwork(dim, **(energy_kwargs or {}))

    def fit(
        self,
        data: Numbers,
        n_steps: int = 5000,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        energy_weight: float = 0.01,
        progress: bool = False,
    ) -> None:
        """Train the energy: lower it at the data and raise it at the states of the chains.

        :param data: Data, (n, dim), as an array or a tensor.
        :param n_steps: Number of updates.
        :param batch_size: Number of chains, and of data points per update.
        :param learning_rate: Initial learning rate, annealed to zero along a cosine.
        :param energy_weight: Weight of the mean squared energies, which prevents energies from drifting.
        :param progress: Whether to show a progress bar.
        :raises ValueError: If the data has another shape or is not finite, or training diverges.
        :raises TypeError: If the data is not an array of numbers.
        """
        data = as_numbers("data", data, next(self.parameters()))
        check_data(data, self.dim)
        check_count("n_steps", n_steps)
        check_count("batch_size", batch_size)
        check_min("energy_weight", energy_weight, 0)
        self.energy.fit_scale(data)
        step_size = self.step_size * self.energy.scale
        optimizer = th.optim.Adam(self.energy.parameters(), lr=learning_rate, betas=ADAM_BETAS)
        schedule = cosine_decay(optimizer, 0, n_steps)
        chains = random_batch(data, batch_size)
        with progress_bar("energy: steps", n_steps, progress) as update:
            for step in range(n_steps):
                batch = random_batch(data, batch_size)
                chains = langevin(self.energy, chains if self.persistent else batch, self.n_langevin, step_size)
                data_energy, chain_energy = self.energy(batch), self.energy(chains)
                squares = data_energy.square().mean() + chain_energy.square().mean()
                loss = data_energy.mean() - chain_energy.mean()
                gradient_step(optimizer, loss + energy_weight * squares)
                schedule.step()
                if (step + 1) % max(1, n_steps // 100) == 0:
                    finite_metrics(step + 1, loss=loss, data_energy=data_energy.mean())
                    update(step + 1)
