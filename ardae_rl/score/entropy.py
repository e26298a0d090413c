"""Two estimates of the gradient of a sampler's entropy: by a variational bound, and by AR-DAE."""

from collections.abc import Iterable, Mapping

import torch as th
from torch import nn
from torch.distributions import Normal
from torch.optim.lr_scheduler import LRScheduler

from ardae_rl.common.training import Stateful
from ardae_rl.score.ardae import ARDAE
from ardae_rl.score.losses import entropy_surrogate
from ardae_rl.score.samplers import ConditionalGaussian, HierarchicalSampler, Sampler


class EntropyBound:
    """A lower bound on a sampler's entropy through h(z | x) (Agakov and Barber 2004; Lim et al. 2020, Eq. 4).

    H(p(x)) ≥ -E[ln p(x | z) + ln p(z) - ln h(z | x)], with equality if h is the posterior of z.

    :param sampler: The sampler.
    :param posterior: h, which has to be trained together with the sampler, on the same objective.
    """

    def __init__(self, sampler: HierarchicalSampler, posterior: ConditionalGaussian) -> None:
        self.sampler, self.posterior = sampler, posterior

    def __call__(self, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Return n samples, (n, dim), and the bound, a scalar."""
        z = self.sampler.sample_noise(n)
        conditional = self.sampler.conditional(z)
        x = conditional.rsample()
        log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
        return x, (self.posterior(x).log_prob(z) - conditional.log_prob(x) - log_prior).mean()

    def trainable_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that the sampler's optimizer must train in addition to the sampler's own."""
        return self.posterior.parameters()

    def parts(self) -> Mapping[str, Stateful]:
        """Return what a checkpoint must hold."""
        return {"posterior": self.posterior}


class EntropyGradient:
    """The gradient of a sampler's entropy by AR-DAE, whose estimator is updated before each update of the sampler.

    :param sampler: The sampler.
    :param estimator: Estimator of the score of the sampler's distribution.
    :param schedule: Schedule of the estimator's learning rate, with one step per update of the sampler.
    :param n_score_updates: Number of the estimator's updates per update of the sampler, the paper's N_d.
    """

    def __init__(self, sampler: Sampler, estimator: ARDAE, schedule: LRScheduler, n_score_updates: int) -> None:
        self.sampler, self.estimator, self.schedule = sampler, estimator, schedule
        self.n_score_updates = n_score_updates

    def __call__(self, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Update the estimator; return n samples, (n, dim), and a scalar that has the gradient of the entropy."""
        with th.no_grad():
            batches = self.sampler(self.n_score_updates * n).split(n)
        for batch in batches:
            self.estimator.step(batch)
        self.schedule.step()
        x = self.sampler(n)
        return x, entropy_surrogate(x, self.estimator.score(x.detach()))

    def trainable_parameters(self) -> Iterable[nn.Parameter]:
        """Return nothing: the estimator has an optimizer of its own."""
        return []

    def parts(self) -> Mapping[str, Stateful]:
        """Return what a checkpoint must hold."""
        estimator = self.estimator
        return {"estimator": estimator, "estimator_optimizer": estimator.optimizer, "score_schedule": self.schedule}
