"""Exact mean and covariance of a generator with one hidden layer, by Hermite expansion of its units."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th


class Moments(NamedTuple):
    """Mean and covariance of pre-tanh actions, for each state."""

    mean: th.Tensor  # batch x dim
    covariance: th.Tensor  # batch x dim x dim


class HermiteRule(NamedTuple):
    """Gauss-Hermite quadrature of the coefficients of normalized Hermite polynomials under N(0, 1)."""

    nodes: th.Tensor  # n_nodes
    projection: th.Tensor  # (order + 1) x n_nodes: weights times He_n(node) / sqrt(n!)
    weights: th.Tensor  # n_nodes, summing to 1


def hermite_rule(order: int, n_nodes: int) -> HermiteRule:
    """Return the rule that computes the coefficients of orders 0 to ``order`` with ``n_nodes`` nodes.

    A rule with n nodes integrates polynomials up to degree 2n - 1 exactly, so ``n_nodes`` must exceed ``order``.

    :param order: Highest order of the expansion, at least 1.
    :param n_nodes: Number of quadrature nodes.
    :raises ValueError: If ``order`` is below 1, or ``n_nodes`` does not exceed it.
    """
    if order < 1:
        raise ValueError(f"`order` must be >= 1, got {order!r}")
    if n_nodes <= order:
        raise ValueError(f"`n_nodes` must be greater than `order` = {order}, got {n_nodes!r}")
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    weights = weights / weights.sum()
    scale = [1 / math.sqrt(math.factorial(n)) for n in range(order + 1)]
    polynomials = np.polynomial.hermite_e.hermevander(nodes, order).T * np.array(scale)[:, None]
    as_tensor = lambda array: th.as_tensor(array, dtype=th.get_default_dtype())  # noqa: E731
    return HermiteRule(as_tensor(nodes), as_tensor(polynomials * weights), as_tensor(weights))


def one_layer_moments(
    shift: th.Tensor,
    gain: th.Tensor,
    noise_weight: th.Tensor,
    output_weight: th.Tensor,
    output_bias: th.Tensor,
    activation: Callable[[th.Tensor], th.Tensor],
    rule: HermiteRule,
) -> Moments:
    r"""Return mean and covariance of x = W φ(h) + b with h_j = shift_j + gain_j a_j·ε and ε ~ N(0, I).

    Each pre-activation h_j is Gaussian. With r_j = |a_j| and s_j = gain_j r_j, expand
    φ(shift_j + s_j ξ) = Σ_n c_jn He_n(ξ) / √n!. By Mehler's formula
    Cov[φ(h_j), φ(h_k)] = Σ_{n ≥ 1} c_jn c_kn ρ_jk^n, where ρ_jk is the cosine between a_j and a_k. Orders above the
    rule's enter on the diagonal alone, where ρ_jj = 1; elsewhere |ρ|^n is small.

    :param shift: Means of the pre-activations, (batch, width).
    :param gain: Factors of the noise, (batch, width).
    :param noise_weight: Rows a_j, (width, noise_dim).
    :param output_weight: W, (dim, width).
    :param output_bias: b, (dim,).
    :param activation: φ, elementwise.
    :param rule: Order of the expansion and quadrature, see :func:`hermite_rule`.
    """
    norms = noise_weight.norm(dim=1)
    units = noise_weight / norms.clamp_min(th.finfo(norms.dtype).tiny)[:, None]
    values = activation(shift + (gain * norms) * rule.nodes[:, None, None])  # nodes x batch x width
    coefficients = th.einsum("nk,kbj->nbj", rule.projection, values)  # orders x batch x width
    second_moment = th.einsum("k,kbj->bj", rule.weights, values.square())
    mean = coefficients[0] @ output_weight.mT + output_bias

    cosines = units @ units.mT
    power = th.ones_like(cosines)
    covariance = mean.new_zeros(*mean.shape, mean.shape[-1])
    for coefficient in coefficients[1:]:
        power = power * cosines
        weighted = output_weight * coefficient.unsqueeze(1)  # batch x dim x width
        covariance = covariance + (weighted @ power) @ weighted.mT
    rest = (second_moment - coefficients.square().sum(0)).clamp_min(0)
    covariance = covariance + (output_weight * rest.unsqueeze(1)) @ output_weight.mT
    return Moments(mean, covariance)
