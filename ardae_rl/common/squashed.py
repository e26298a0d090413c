"""Actions in a box as tanh of unbounded ones: densities on either side."""

import math

import torch as th
from gymnasium import spaces
from torch.nn import functional as F


def log_tanh_slope(pre_tanh: th.Tensor) -> th.Tensor:
    """Σ ln(1 - tanh² x) over the last dimension, exact where 1 - tanh² x underflows."""
    return (2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))).sum(-1)


def pre_tanh_actions(actions: th.Tensor, action_space: spaces.Box) -> th.Tensor:
    """Where actions of the environment lie before tanh: atanh of their place in the range, (batch, action_dim).

    :param actions: (batch, action_dim), or of the space's shape; kept off the bounds by 1e-6 of half the range
    """
    low, high = _bounds(action_space, actions.device)
    scaled = 2 * (actions.to(low).reshape(-1, len(low)) - low) / (high - low) - 1
    return th.atanh(scaled.clamp(-1 + 1e-6, 1 - 1e-6))


def log_half_range(action_space: spaces.Box, device: th.device) -> th.Tensor:
    """Σ ln((high - low) / 2): what a log density in [-1, 1] is above that per unit of the environment's range."""
    low, high = _bounds(action_space, device)
    return th.log((high - low) / 2).sum()


def _bounds(action_space: spaces.Box, device: th.device) -> tuple[th.Tensor, th.Tensor]:
    bounds = (action_space.low, action_space.high)
    low, high = (th.as_tensor(bound, dtype=th.float32, device=device).flatten() for bound in bounds)
    return low, high
