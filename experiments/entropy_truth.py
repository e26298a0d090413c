"""Reference values for the entropy of an implicit policy's actions: from nearest neighbors, and from mixture bounds.

Nearest neighbors (Kozachenko and Leonenko 1987) need samples only. Their bias, which is known for Gaussians, is
subtracted. A policy with output noise, x = g(ε, s) + c L(s) ε', is a mixture of Gaussians over ε. A mixture of finitely
many of its components bounds the entropy from both sides in expectation: from below if it includes the component that
generated the sample, from above if it does not. To first order in one over the number of components, both bounds are
off by the same amount in opposite directions, so their midpoint is more accurate than either. For a Gaussian policy and
4096 components, the bounds are 0.1 nats apart in 3 dimensions and 1.5 in 6 if c = 0.3, 0.02 and 0.2 if c = 0.5, and
useless in 17 dimensions.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from ardae_rl import SACARDAE
from ardae_rl.common.squashed import log_tanh_slope
from ardae_rl.sac_ardae.bounds import mixture_log_densities
from ardae_rl.sac_ardae.density import pre_tanh_log_prob

_NEIGHBOR = 3
_MAX_GAP = 0.3  # between bounds whose midpoint serves as the reference


class Entropies(NamedTuple):
    """Entropies of the actions in [-1, 1], each of shape (states,)."""

    estimated: NDArray[np.float64]  # by the policy's estimator
    neighbors: NDArray[np.float64]  # after subtraction of the bias for Gaussians
    lower: NDArray[np.float64]  # NaN for a policy without output noise
    upper: NDArray[np.float64]

    @property
    def middle(self) -> NDArray[np.float64]:
        """The midpoint of the bounds."""
        return 0.5 * (self.lower + self.upper)

    @property
    def mixture_is_better(self) -> bool:
        """Whether the bounds are closer than the neighbors are trusted to be."""
        return bool((self.upper - self.lower).mean() < _MAX_GAP)

    @property
    def truth(self) -> NDArray[np.float64]:
        """The midpoint of the bounds if they are close to each other, and the neighbors' entropy otherwise."""
        return self.middle if self.mixture_is_better else self.neighbors


def neighbor_entropy(x: NDArray[np.float64]) -> float:
    """Estimate the entropy of samples (n, d) by their third neighbors, in coordinates with covariance 1."""
    n, dim = x.shape
    factor = np.linalg.cholesky(np.cov(x.T).reshape(dim, dim))
    z = np.linalg.solve(factor, x.T).T
    distances = cKDTree(z).query(z, _NEIGHBOR + 1)[0][:, -1]
    log_ball = 0.5 * dim * np.log(np.pi) - gammaln(0.5 * dim + 1)
    local = digamma(n) - digamma(_NEIGHBOR) + log_ball + dim * np.log(distances).mean()
    return float(local + np.log(np.diagonal(factor)).sum())


@functools.cache
def neighbor_bias(n: int, dim: int, repetitions: int = 8) -> float:
    """Return by how much :func:`neighbor_entropy` of n samples exceeds the entropy of a Gaussian, on average."""
    rng = np.random.default_rng(0)
    entropy = 0.5 * dim * math.log(2 * math.pi * math.e)
    return float(np.mean([neighbor_entropy(rng.standard_normal((n, dim))) for _ in range(repetitions)])) - entropy


def mixture_bounds(points: th.Tensor, means: th.Tensor, factor: th.Tensor, noise: float) -> tuple[th.Tensor, th.Tensor]:
    """Return a lower and an upper bound on the entropy of x = g + c L ε', ε' ~ N(0, I), which hold in expectation.

    Both are minus the mean log-density of the points under a mixture of N(g_j, c² L Lᵀ). With the points' own
    components, the density is too high on average, because they are not independent of the points. Without them, it is
    too low, by Jensen's inequality.

    :param points: Samples x, shape (n, dim).
    :param means: Samples of g, shape (m, dim) with m at least n. Point i was drawn around mean i.
    :param factor: L, lower triangular, shape (dim, dim).
    :param noise: c, positive.
    """
    points, means = (th.linalg.solve_triangular(factor, x.mT, upper=False).mT.unsqueeze(0) for x in (points, means))
    log_det = factor.diagonal().log().sum()
    with_own, without_own = mixture_log_densities(means, points, noise)
    return log_det - with_own.mean(), log_det - without_own.mean()


@th.no_grad()
def policy_entropies(model: SACARDAE, observations: NDArray[np.float32], n: int, n_components: int) -> Entropies:
    """Return the entropies of a policy's actions in each state, by random numbers of their own.

    :param model: The model.
    :param observations: The states, shape (states, ...).
    :param n: Number of actions in each state.
    :param n_components: Number of components of the mixture, at least ``n``.
    """
    with th.random.fork_rng():
        th.manual_seed(0)
        rows = [_entropies(model, observation, n, n_components) for observation in observations]
    return Entropies(*np.array(rows).T)


def _entropies(model: SACARDAE, observation: NDArray[np.float32], n: int, n_components: int) -> tuple[float, ...]:
    obs, _ = model.policy.obs_to_tensor(observation)
    states = model.policy.encode_states(obs)
    points, means, factor, noise = sample_pairs(model, states.embedding, n, n_components)
    estimated = -pre_tanh_log_prob(model.estimator, states, points.unsqueeze(0), model.policy.log_prob_offset).mean()
    slope = float(log_tanh_slope(points).mean())
    neighbors = neighbor_entropy(points.double().numpy()) - neighbor_bias(*points.shape) + slope
    bounds = [math.nan, math.nan]
    if noise > 0:
        bounds = [float(bound) + slope for bound in mixture_bounds(points, means, factor, noise)]
    return float(estimated), neighbors, *bounds


def sample_pairs(
    model: SACARDAE, embedding: th.Tensor, n: int, n_components: int
) -> tuple[th.Tensor, th.Tensor, th.Tensor, float]:
    """Return actions before tanh, (n, dim), samples of g, (n_components, dim), L and c. Action i comes from sample i.

    :param embedding: The actor's embedding of one state.
    """
    actor = model.policy.actor
    noise = actor.output_noise
    means = actor.generate(embedding, actor.sample_noise(embedding, n_components if noise > 0 else n))[0]
    frame = actor.frame(embedding)
    points = actor.add_output_noise(means[None, :n], frame)[0]
    factor = th.eye(points.shape[1]) if frame.factor is None else frame.factor[0]
    return points, means, factor, noise
