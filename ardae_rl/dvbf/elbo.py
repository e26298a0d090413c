"""The evidence lower bound of state-space models, in its three terms."""

from typing import NamedTuple, Protocol

import torch as th


class StateSpaceModel(Protocol):
    """p(z_0) Π p(z_t | z_{t-1}, u_{t-1}) Π p(x_t | z_t), for x (batch, T + 1, obs_dim) and u (batch, T, act_dim)."""

    def log_first(self, z: th.Tensor) -> th.Tensor:
        """ln p(z_0), (batch), of (batch, d)."""

    def following(self, z: th.Tensor, u: th.Tensor, w: th.Tensor) -> th.Tensor:
        """z_t, (batch, d), of z_{t-1}, u_{t-1} and noise w ~ N(0, I), (batch, d); at w = 0 the mean."""

    def log_prior(self, z: th.Tensor, u: th.Tensor) -> th.Tensor:
        """ln p(z_{0:T} | u), (batch), of (batch, T + 1, d): of the joint density, not of marginal ones."""

    def log_emission(self, z: th.Tensor, x: th.Tensor) -> th.Tensor:
        """ln p(x_{0:T} | z_{0:T}), (batch)."""


class ELBOTerms(NamedTuple):
    """Of one draw from the posterior, (batch) each: densities of the same thing, or the bound is none."""

    reconstruction: th.Tensor  # ln p(x | z)
    log_prior: th.Tensor  # ln p of what was drawn
    log_posterior: th.Tensor  # ln q of what was drawn

    @property
    def elbo(self) -> th.Tensor:
        """At most ln p(x | u) in expectation, (batch)."""
        return self.reconstruction + self.log_prior - self.log_posterior

    @property
    def kl(self) -> th.Tensor:
        """An estimate of KL(q || p), at least 0 in expectation, (batch)."""
        return self.log_posterior - self.log_prior


class Drawn(NamedTuple):
    """What a posterior gives."""

    z: th.Tensor  # (batch, T + 1, d)
    log_prior: th.Tensor  # (batch)
    log_posterior: th.Tensor  # (batch)


class Posterior(Protocol):
    """Draws from q(. | x, u): of all states, or of what they follow from."""

    def __call__(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> Drawn:
        """One draw for each sequence."""


def elbo(model: StateSpaceModel, posterior: Posterior, x: th.Tensor, u: th.Tensor) -> tuple[ELBOTerms, th.Tensor]:
    """The terms of a draw, and its states."""
    drawn = posterior(model, x, u)
    return ELBOTerms(model.log_emission(drawn.z, x), drawn.log_prior, drawn.log_posterior), drawn.z
