"""Actions in a box as tanh of unbounded actions: the change of variables in both directions."""

import math

import torch as th
from gymnasium import spaces
from torch.nn import functional as F


def log_tanh_slope(pre_tanh: th.Tensor) -> th.Tensor:
    """Return Σ ln(1 - tanh² x) over the last dimension, which stays exact where 1 - tanh² x underflows."""
    return (2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))).sum(-1)


def pre_tanh_actions(actions: th.Tensor, action_space: spaces.Box) -> th.Tensor:
    """Return the unbounded actions of which the environment's actions are a scaled tanh, shape (batch, action_dim).

    :param actions: Actions in the environment's range, shape (batch, action_dim) or (batch, *shape of the space).
        They are kept away from the bounds by a millionth of half the range.
    :param action_space: Action space of the environment.
    """
    low, high = _bounds(action_space, actions.device)
    scaled = 2 * (actions.to(low).reshape(-1, len(low)) - low) / (high - low) - 1
    return th.atanh(scaled.clamp(-1 + 1e-6, 1 - 1e-6))


def log_half_range(action_space: spaces.Box, device: th.device) -> th.Tensor:
    """Return the log-Jacobian of rescaling [-1, 1] to the action bounds, Σ ln((high - low) / 2)."""
    low, high = _bounds(action_space, device)
    return th.log((high - low) / 2).sum()


def _bounds(action_space: spaces.Box, device: th.device) -> tuple[th.Tensor, th.Tensor]:
    bounds = (action_space.low, action_space.high)
    low, high = (th.as_tensor(bound, dtype=th.float32, device=device).flatten() for bound in bounds)
    return low, high
