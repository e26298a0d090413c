"""Mean and covariance of a sampler with one hidden layer in closed form, by Hermite expansion of its units."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch as th

from ardae_rl.common.checks import check_count


class Moments(NamedTuple):
    """Mean and covariance of the actions before tanh, for each state."""

    mean: th.Tensor  # (batch, dim)
    covariance: th.Tensor  # (batch, dim, dim)


class HermiteRule(NamedTuple):
    """Gauss-Hermite quadrature for the coefficients of normalized Hermite polynomials under N(0, 1)."""

    nodes: th.Tensor  # (n_nodes,)
    projection: th.Tensor  # (order + 1, n_nodes): weights times He_n(node) / sqrt(n!)
    weights: th.Tensor  # (n_nodes,), with sum 1


def hermite_rule(order: int = 3, n_nodes: int = 24) -> HermiteRule:
    """Return the rule for the coefficients of orders 0 to ``order``.

    A rule with n nodes is exact for polynomials up to degree 2n - 1, so it must have more nodes than the order.

    Example:

    >>> from ardae_rl.sac_ardae.moments import hermite_rule
    >>> rule = hermite_rule(order=1, n_nodes=4)
    >>> (rule.projection @ rule.nodes.abs()).shape  # the first two coefficients of |ξ|
    torch.Size([2])

    :param order: Highest order of the expansion.
    :param n_nodes: Number of quadrature nodes.
    :raises ValueError: If ``order`` is below 1, or ``n_nodes`` does not exceed it.
    """
    check_count("order", order)
    check_count("n_nodes", n_nodes, minimum=order + 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    weights = weights / weights.sum()
    norms = np.array([math.sqrt(math.factorial(n)) for n in range(order + 1)])
    polynomials = np.polynomial.hermite_e.hermevander(nodes, order).T / norms[:, None]
    arrays = (nodes, polynomials * weights, weights)
    return HermiteRule(*(th.as_tensor(array, dtype=th.get_default_dtype()) for array in arrays))


@th.no_grad()
def one_layer_moments(
    shift: th.Tensor,
    gain: th.Tensor,
    noise_weight: th.Tensor,
    output_weight: th.Tensor,
    output_bias: th.Tensor,
    activation: Callable[[th.Tensor], th.Tensor],
    rule: HermiteRule,
) -> Moments:
    """Return mean and covariance of x = W φ(h) + b, where h_j = shift_j + gain_j a_j·ε and ε ~ N(0, I).

    Each h_j is Gaussian. With s_j = gain_j |a_j|, expand φ(shift_j + s_j ξ) = Σ_n c_jn He_n(ξ) / √n!. By Mehler's
    formula, Cov[φ(h_j), φ(h_k)] = Σ_{n ≥ 1} c_jn c_kn ρ_jk^n, where ρ_jk is the cosine of the angle between a_j and
    a_k. Orders above the rule's are kept on the diagonal, where ρ_jj = 1, and dropped elsewhere, where |ρ_jk|^n is
    small. The result is deterministic, and exact up to this truncation and the quadrature. It carries no gradient.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_ardae.moments import hermite_rule, one_layer_moments
    >>> shift, gain, noise_weight = th.zeros(1, 3), th.ones(1, 3), th.eye(3)
    >>> moments = one_layer_moments(shift, gain, noise_weight, th.eye(3), th.zeros(3), lambda h: 2 * h, hermite_rule())
    >>> moments.covariance.diagonal(dim1=1, dim2=2).round(decimals=3)
    tensor([[4., 4., 4.]])

    :param shift: Means of the units h, shape (batch, width).
    :param gain: Factors of the noise, shape (batch, width).
    :param noise_weight: Rows a_j, shape (width, noise_dim).
    :param output_weight: W, shape (dim, width).
    :param output_bias: b, shape (dim,).
    :param activation: φ, applied elementwise.
    :param rule: Order and quadrature of the expansion, from :func:`hermite_rule`.
    """
    norms = noise_weight.norm(dim=1)
    directions = noise_weight / norms.clamp_min(th.finfo(norms.dtype).tiny)[:, None]
    values = activation(th.addcmul(shift, gain * norms, rule.nodes[:, None, None])).flatten(1)
    coefficients = (rule.projection @ values).unflatten(1, shift.shape)  # (order + 1, batch, width)
    second_moment = (rule.weights @ values.square_()).unflatten(0, shift.shape)
    rest = (second_moment - coefficients.square().sum(0)).clamp_min(0)  # variance of the orders that are left out
    products = (output_weight.unsqueeze(1) * output_weight).flatten(0, 1)  # (dim², width)
    covariance = (rest @ products.mT).unflatten(1, (len(output_weight), -1))
    # One product for the sum over orders: Σ_n (W c_n) R^n (W c_n)ᵀ, where R = U Uᵀ has no more columns than U
    first = (output_weight * coefficients[1].unsqueeze(1)) @ directions
    lefts, rights, cosines = [first], [first], directions @ directions.mT
    for n, coefficient in enumerate(coefficients[2:], start=2):
        rights.append(output_weight * coefficient.unsqueeze(1))  # (batch, dim, width)
        lefts.append(rights[-1] @ cosines**n)
    covariance = th.baddbmm(covariance, th.cat(lefts, -1), th.cat(rights, -1).mT)
    return Moments(coefficients[0] @ output_weight.mT + output_bias, covariance)
