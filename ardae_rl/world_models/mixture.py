"""Mixtures of diagonal Gaussians in log space: densities, closed forms over a Gaussian target, draws."""

import math
from typing import NamedTuple

import torch as th

_LOG_2_PI = math.log(2 * math.pi)


class Mixture(NamedTuple):
    """A density of y in R^d with K components.

    One component may be chosen for the whole of y ("joint": one set of weights), or one for each dimension of its own
    ("per dimension", as in Ha and Schmidhuber's code: a product of d mixtures).

    :param log_weights: (..., 1, K) or (..., d, K), normalised
    :param means: (..., d, K)
    :param log_scales: (..., d, K), of standard deviations
    """

    log_weights: th.Tensor
    means: th.Tensor
    log_scales: th.Tensor

    @property
    def mean(self) -> th.Tensor:
        """Expectation, (..., d)."""
        return (self.log_weights.exp() * self.means).sum(-1)


def negative_log_likelihood(mixture: Mixture, y: th.Tensor) -> th.Tensor:
    """-ln p(y), (..., d) to (...)."""
    mixture = _precise(mixture)
    standardised = (y.to(mixture.means).unsqueeze(-1) - mixture.means) * (-mixture.log_scales).exp()
    return -_log_sum(mixture.log_weights, -0.5 * standardised.square() - mixture.log_scales - 0.5 * _LOG_2_PI)


def cross_entropy_bound(mixture: Mixture, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """An upper bound of E[-ln p(y)] over y ~ N(mean, std²), (..., d) each to (...).

    -ln Σ_k exp(ln π_k + E[ln N_k(y)]), by Jensen's inequality, with E[ln N_k] in closed form; exact for K = 1.
    """
    mixture = _precise(mixture)
    distance = (mean.to(mixture.means).unsqueeze(-1) - mixture.means) * (-mixture.log_scales).exp()
    spread = (2 * (log_std.to(mixture.means).unsqueeze(-1) - mixture.log_scales)).exp()
    return -_log_sum(mixture.log_weights, -0.5 * (distance.square() + spread) - mixture.log_scales - 0.5 * _LOG_2_PI)


def gaussian_kl(mixture: Mixture, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """KL(N(mean, std²) ‖ p), (..., d) each to (...), for a mixture of one component.

    :raises ValueError: for more components, where there is no closed form
    """
    if mixture.means.shape[-1] != 1:
        raise ValueError(f"mixture: {mixture.means.shape[-1]} components; accepted is 1 (else: cross_entropy_bound)")
    entropy = (log_std.to(_precise(mixture).means) + 0.5 * (1 + _LOG_2_PI)).sum(-1)
    return cross_entropy_bound(mixture, mean, log_std) - entropy


def sample(mixture: Mixture, temperature: float = 1.0, generator: th.Generator | None = None) -> th.Tensor:
    """y at a temperature τ, (..., d): the component from weights π_k^(1/τ), normalised, then N(μ_k, τ σ_k²).

    At τ = 1 these are draws from the density, at τ = 0 the mean of the likeliest component.

    :raises ValueError: for a negative temperature
    """
    if not temperature >= 0:
        raise ValueError(f"temperature={temperature!r}: accepted are numbers from 0 up")
    log_weights = mixture.log_weights.expand_as(mixture.means)
    if temperature == 0:
        return _of_component(mixture.means, log_weights.argmax(-1))
    # One draw for all dimensions where they share the choice
    weights = (mixture.log_weights / temperature).softmax(-1)
    choice = th.multinomial(weights.flatten(0, -2), 1, generator=generator).reshape(weights.shape[:-1])
    choice = choice.expand(mixture.means.shape[:-1])
    mean, log_scale = _of_component(mixture.means, choice), _of_component(mixture.log_scales, choice)
    noise = th.empty_like(mean).normal_(generator=generator)
    return mean + math.sqrt(temperature) * log_scale.exp() * noise


def _log_sum(log_weights: th.Tensor, log_densities: th.Tensor) -> th.Tensor:
    """ln of the mixture from ln densities by dimension and component, (..., d, K) to (...)."""
    if log_weights.shape[-2] == 1:
        log_densities = log_densities.sum(-2, keepdim=True)
    return (log_weights + log_densities).logsumexp(-1).sum(-1)


def _of_component(values: th.Tensor, choice: th.Tensor) -> th.Tensor:
    return values.gather(-1, choice.unsqueeze(-1)).squeeze(-1)


def _precise(mixture: Mixture) -> Mixture:
    """At least in single precision: squares of standardised distances leave the range of half precision."""
    if mixture.means.dtype in (th.float16, th.bfloat16):
        return Mixture(*(part.float() for part in mixture))
    return mixture
