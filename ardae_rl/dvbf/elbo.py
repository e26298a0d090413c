"""The evidence lower bound of state-space models and its terms."""

from typing import NamedTuple, Protocol

import torch as th


class StateSpaceModel(Protocol):
    """The model p(z_0) Π p(z_t | z_{t-1}, u_{t-1}) Π p(x_t | z_t).

    Observations x have shape (batch, T + 1, obs_dim), controls u (batch, T, act_dim) and states z (batch, T + 1, d).
    """

    def log_prob_initial(self, z: th.Tensor) -> th.Tensor:
        """Return ln p(z_0), (batch,), given z_0 (batch, d)."""

    def next_state(self, z: th.Tensor, u: th.Tensor, w: th.Tensor) -> th.Tensor:
        """Return z_t, (batch, d), given z_{t-1}, u_{t-1} and noise w ~ N(0, I), (batch, d); w = 0 gives the mean."""

    def log_prior(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return the joint log-density ln p(z_{0:T} | u), (batch,)."""

    def log_emission(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """Return ln p(x_{0:T} | z_{0:T}), (batch,)."""


class ELBOTerms(NamedTuple):
    """The terms for one posterior sample per sequence, each (batch,).

    ``log_prior`` and ``log_posterior`` must be densities of the same variable; otherwise there is no bound.
    """

    reconstruction: th.Tensor  # ln p(x | z)
    log_prior: th.Tensor  # ln p of the sampled variable
    log_posterior: th.Tensor  # ln q of the sampled variable

    @property
    def elbo(self) -> th.Tensor:
        """The lower bound, whose expectation is at most ln p(x | u), (batch,)."""
        return self.reconstruction + self.log_prior - self.log_posterior

    @property
    def kl(self) -> th.Tensor:
        """An estimate of KL(q || p), at least 0 in expectation, (batch,)."""
        return self.log_posterior - self.log_prior


class PosteriorSample(NamedTuple):
    """States sampled from a posterior, with the log-densities of the variable that was sampled."""

    z: th.Tensor  # (batch, T + 1, d)
    log_prior: th.Tensor  # (batch,)
    log_posterior: th.Tensor  # (batch,)


class Posterior(Protocol):
    """Samples from q(. | x, u): either the states themselves, or the variables that determine them."""

    def __call__(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        """Return one sample per sequence."""


def elbo(model: StateSpaceModel, posterior: Posterior, x: th.Tensor, u: th.Tensor) -> tuple[ELBOTerms, th.Tensor]:
    """Return the terms of the bound for one posterior sample per sequence, and its states (batch, T + 1, d)."""
    sample = posterior(model, x, u)
    return ELBOTerms(model.log_emission(sample.z, x), sample.log_prior, sample.log_posterior), sample.z
