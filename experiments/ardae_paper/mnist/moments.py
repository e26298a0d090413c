"""Mean and covariance of a layer of rectifiers over Gaussian noise, up to first order in the units' correlations."""

import math
from typing import NamedTuple

import torch as th
from torch import nn

from ardae_rl.sac_ardae.moments import Moments


class ReluMoments(NamedTuple):
    """Moments of a linear output layer after a layer of rectifiers, and the mean of the rectifiers."""

    output: Moments
    hidden_mean: th.Tensor  # (batch, hidden)


@th.no_grad()
def relu_layer_moments(
    shift: th.Tensor, noise_weight: th.Tensor, noise_scale: th.Tensor | None, output: nn.Linear
) -> ReluMoments:
    """Return the moments of W relu(h) + b with h = shift + A (noise_scale * ε), ε ~ N(0, I), and the mean of relu(h).

    A unit h ~ N(m, s²) has E relu(h) = m Φ(m/s) + s φ(m/s), E relu(h)² = (m² + s²) Φ(m/s) + m s φ(m/s) and
    E relu'(h) = Φ(m/s). Of the Hermite expansion of each covariance (see
    :func:`~ardae_rl.sac_ardae.moments.one_layer_moments`), the first order is kept everywhere, and all orders on the
    diagonal. This is precise enough for the frame of an estimator, at half the cost of the second order.

    :param shift: Means of the units, (batch, hidden).
    :param noise_weight: A, (hidden, noise_dim).
    :param noise_scale: (batch, noise_dim), or None for ones.
    :param output: The layer of W and b.
    """
    if noise_scale is None:
        scale = noise_weight.norm(dim=1).expand_as(shift)
    else:
        scale = (noise_scale.square() @ noise_weight.square().mT).sqrt()
    scale = scale.clamp_min(1e-12)
    ratio = shift / scale
    slope = th.special.ndtr(ratio)
    density = (-0.5 * ratio.square()).exp() / math.sqrt(2 * math.pi)
    mean = shift * slope + scale * density
    variance = (shift.square() + scale.square()) * slope + shift * scale * density - mean.square()
    rest = (variance - (scale * slope).square()).clamp_min(0)
    columns = output.weight.mT.contiguous()  # (hidden, dim); contiguous, so that flatten below does not copy
    # Σ_j weight_j slope_j ... as products with (batch, hidden), which need no tensors of shape (batch, dim, hidden)
    outer = (columns.unsqueeze(2) * noise_weight.unsqueeze(1)).flatten(1)  # (hidden, dim * noise_dim)
    jacobian = (slope @ outer).unflatten(1, (columns.shape[1], -1))  # E ∂z/∂ε, (batch, dim, noise_dim)
    if noise_scale is not None:
        jacobian = jacobian * noise_scale.unsqueeze(1)
    squares = (columns.unsqueeze(2) * columns.unsqueeze(1)).flatten(1)  # (hidden, dim * dim)
    covariance = th.baddbmm((rest @ squares).unflatten(1, (columns.shape[1], -1)), jacobian, jacobian.mT)
    return ReluMoments(Moments(output(mean), covariance), mean)
