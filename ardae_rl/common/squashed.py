"""Actions in a box: rescaled to [-1, 1] and back, and as tanh of unbounded actions."""

import math

import torch as th
from gymnasium import spaces
from torch.nn import functional as F

_MARGIN = 1e-6  # between actions in [-1, 1] and their bounds, where densities become infinite
_LOWEST_LOG_SLOPE = math.log(1 - (1 - _MARGIN) ** 2)


def action_bounds(action_space: spaces.Box, device: th.device) -> tuple[th.Tensor, th.Tensor]:
    """Return the lowest and highest actions, each of shape (action_dim,)."""
    bounds = (action_space.low, action_space.high)
    low, high = (th.as_tensor(bound, dtype=th.float32, device=device).flatten() for bound in bounds)
    return low, high


def scale_actions(actions: th.Tensor, action_space: spaces.Box) -> th.Tensor:
    """Return the environment's actions rescaled to [-1, 1], shape (batch, action_dim).

    :param actions: Actions in the environment's range, shape (batch, action_dim) or (batch, *shape of the space).
    :param action_space: Action space of the environment.
    """
    low, high = action_bounds(action_space, actions.device)
    return 2 * (actions.to(low).reshape(-1, len(low)) - low) / (high - low) - 1


def unscale_actions(scaled: th.Tensor, action_space: spaces.Box) -> th.Tensor:
    """Return actions in the environment's range, shape (batch, *shape of the space); the inverse of `scale_actions`.

    :param scaled: Actions in [-1, 1], shape (batch, action_dim) or (batch, *shape of the space).
    :param action_space: Action space of the environment.
    """
    low, high = action_bounds(action_space, scaled.device)
    actions = low + 0.5 * (scaled.reshape(-1, len(low)) + 1) * (high - low)
    return actions.reshape(-1, *action_space.shape)


def clip_inside_bounds(actions: th.Tensor, action_space: spaces.Box, margin: float) -> th.Tensor:
    """Return actions clipped to stay a margin inside the action bounds, shape (batch, action_dim).

    :param actions: Actions in the environment's range, shape (batch, action_dim) or (batch, *shape of the space).
    :param action_space: Action space of the environment.
    :param margin: Width of the margin as a fraction of half the range.
    """
    low, high = action_bounds(action_space, actions.device)
    offset = 0.5 * margin * (high - low)
    return actions.reshape(-1, len(low)).clamp(low + offset, high - offset)


def log_tanh_slope(pre_tanh: th.Tensor) -> th.Tensor:
    """Return Σ ln(1 - tanh² x) over the last dimension, which stays exact where 1 - tanh² x underflows."""
    return _log_tanh_slopes(pre_tanh).sum(-1)


def saturation_excess(pre_tanh: th.Tensor) -> th.Tensor:
    """Return Σ max(0, l - ln(1 - tanh² x)) over the last dimension, where l is ln(1 - a²) a millionth from a bound.

    Log-densities grow without limit as actions approach their bounds, although the actions hardly differ any more. An
    algorithm that rewards entropy subtracts this excess from them, so that its critics do not learn such values. (SB3's
    SAC adds a millionth to the slopes, which has about the same limit.)

    :param pre_tanh: Actions before tanh, shape (..., action_dim).
    """
    return (_LOWEST_LOG_SLOPE - _log_tanh_slopes(pre_tanh)).clamp(min=0).sum(-1)


def pre_tanh_actions(actions: th.Tensor, action_space: spaces.Box) -> th.Tensor:
    """Return the unbounded actions whose scaled tanh gives the environment's actions, shape (batch, action_dim).

    :param actions: Actions in the environment's range, shape (batch, action_dim) or (batch, *shape of the space).
        They are kept away from the bounds by a millionth of half the range.
    :param action_space: Action space of the environment.
    """
    return th.atanh(scale_actions(actions, action_space).clamp(-1 + _MARGIN, 1 - _MARGIN))


def log_half_range(action_space: spaces.Box, device: th.device) -> th.Tensor:
    """Return the log-Jacobian of rescaling [-1, 1] to the action bounds, Σ ln((high - low) / 2)."""
    low, high = action_bounds(action_space, device)
    return th.log((high - low) / 2).sum()


def _log_tanh_slopes(pre_tanh: th.Tensor) -> th.Tensor:
    return 2 * (math.log(2) - pre_tanh - F.softplus(-2 * pre_tanh))
