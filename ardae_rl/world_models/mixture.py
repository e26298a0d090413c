"""Mixtures of diagonal Gaussians in log space: densities, closed forms for a Gaussian target, and sampling."""

import math
from typing import NamedTuple

import torch as th

from ardae_rl.common.checks import check_min

_LOG_2_PI = math.log(2 * math.pi)


class Mixture(NamedTuple):
    """Mixture densities of y in R^d with K components.

    One component is chosen either for all dimensions of y (``"joint"``, with one set of weights), or for each dimension
    separately (``"per_dimension"``, a product of d mixtures, as in Ha and Schmidhuber's code).

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.mixture import Mixture, negative_log_likelihood
    >>> mixture = Mixture(th.zeros(1, 1), means=th.zeros(3, 1), log_scales=th.zeros(3, 1))
    >>> print(f"{negative_log_likelihood(mixture, th.zeros(3)):.4f}")  # of a standard normal in R^3
    2.7568

    :param log_weights: Normalized log weights, (..., 1, K) or (..., d, K).
    :param means: Means, (..., d, K).
    :param log_scales: Log standard deviations, (..., d, K).
    """

    log_weights: th.Tensor
    means: th.Tensor
    log_scales: th.Tensor

    @property
    def mean(self) -> th.Tensor:
        """Expectation of y, (..., d)."""
        return (self.log_weights.exp() * self.means).sum(-1)


def negative_log_likelihood(mixture: Mixture, y: th.Tensor) -> th.Tensor:
    """Return -ln p(y), (...), for y (..., d)."""
    standardized = (y.unsqueeze(-1) - mixture.means) * (-mixture.log_scales).exp()
    return -_log_sum(mixture.log_weights, -0.5 * standardized.square() - mixture.log_scales - 0.5 * _LOG_2_PI)


def cross_entropy_bound(mixture: Mixture, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Return an upper bound of E[-ln p(y)] over y ~ N(mean, std²), (...), for moments (..., d) of y.

    By Jensen's inequality the bound is -ln Σ_k exp(ln π_k + E[ln N_k(y)]), with E[ln N_k] in closed form. It is exact
    for K = 1.
    """
    distance = (mean.unsqueeze(-1) - mixture.means) * (-mixture.log_scales).exp()
    spread = (2 * (log_std.unsqueeze(-1) - mixture.log_scales)).exp()
    return -_log_sum(mixture.log_weights, -0.5 * (distance.square() + spread) - mixture.log_scales - 0.5 * _LOG_2_PI)


def gaussian_kl(mixture: Mixture, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Return KL(N(mean, std²) ‖ p), (...), for moments (..., d) of y and a mixture of one component.

    :raises ValueError: For several components, for which there is no closed form.
    """
    if mixture.means.shape[-1] != 1:
        raise ValueError(
            f"`mixture` must have 1 component (for more, use cross_entropy_bound), got {mixture.means.shape[-1]}"
        )
    entropy = (log_std + 0.5 * (1 + _LOG_2_PI)).sum(-1)
    return cross_entropy_bound(mixture, mean, log_std) - entropy


def transform(mixture: Mixture, uniform: th.Tensor, normal: th.Tensor, temperature: float = 1.0) -> th.Tensor:
    """Transform random numbers into a sample y, (..., d), at a temperature τ.

    The component is chosen with weights ∝ π_k^(1/τ); y is then from N(μ_k, τ σ_k²). At τ = 1 these are samples from the
    density, at τ = 0 the mean of the most likely component.

    :param uniform: Uniform numbers in [0, 1), which choose components: (..., 1) if the dimensions share their
        component, otherwise (..., d).
    :param normal: Standard normal numbers, (..., d).
    :raises ValueError: For a negative temperature.
    """
    check_min("temperature", temperature, 0)
    log_weights, means = mixture.log_weights, mixture.means
    if temperature == 0:
        return _of_component(means, log_weights.argmax(-1).expand(means.shape[:-1]))
    # Without the last sum, which may be rounded to less than 1: larger numbers choose the last component
    cumulative = (log_weights / temperature).softmax(-1).cumsum(-1)[..., :-1]
    choice = (uniform.unsqueeze(-1) >= cumulative).sum(-1).expand(means.shape[:-1])
    scale = _of_component(mixture.log_scales, choice).exp()
    return _of_component(means, choice) + math.sqrt(temperature) * scale * normal


def _log_sum(log_weights: th.Tensor, log_densities: th.Tensor) -> th.Tensor:
    """Return the mixture's log-density (...), given the log-densities of each dimension and component, (..., d, K)."""
    if log_weights.shape[-2] == 1:
        log_densities = log_densities.sum(-2, keepdim=True)
    return (log_weights + log_densities).logsumexp(-1).sum(-1)


def _of_component(values: th.Tensor, choice: th.Tensor) -> th.Tensor:
    return values.gather(-1, choice.unsqueeze(-1)).squeeze(-1)
