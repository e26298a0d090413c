"""Squashed actions: exact slopes, and actions before tanh."""

import math

import numpy as np
import torch as th
from gymnasium import spaces

from ardae_rl.common.squashed import (
    log_half_range,
    log_tanh_slope,
    pre_tanh_actions,
    saturation_excess,
)


def test_log_tanh_slope_is_exact() -> None:
    x = th.cat([th.linspace(-100, 100, 2001), th.tensor([0.0, 1e-3, -1e-3])]).unsqueeze(-1)
    exact = x.double().squeeze(-1)
    # ln(1 - tanh² x) = -2 (|x| + ln(1 + e^{-2|x|}) - ln 2)
    expected = -2 * (exact.abs() + th.log1p(th.exp(-2 * exact.abs())) - math.log(2))
    th.testing.assert_close(log_tanh_slope(x).double(), expected, rtol=2e-7, atol=5e-7)
    th.testing.assert_close(log_tanh_slope(th.tensor([1.0, -50.0])), log_tanh_slope(x[[1010, 500]]).sum())
    small = exact[exact.abs() < 5]
    th.testing.assert_close(
        log_tanh_slope(small.unsqueeze(-1)), (1 - small.tanh().square()).log(), rtol=1e-9, atol=1e-9
    )


def test_saturated_actions_have_a_limited_density() -> None:
    """The sum of slope and excess is exact up to a millionth from the bounds, and constant from there on."""
    x = th.tensor([[0.0, 7.0], [3.0, -50.0], [-1000.0, 1000.0]])
    limited = log_tanh_slope(x) + saturation_excess(x)
    lowest = math.log(2e-6)
    slopes = [math.log(1 - math.tanh(value) ** 2) for value in (0.0, 7.0, 3.0)]
    th.testing.assert_close(
        limited, th.tensor([slopes[0] + slopes[1], slopes[2] + lowest, 2 * lowest]), rtol=0, atol=1e-3
    )
    assert saturation_excess(x[0]) == 0


def test_actions_before_tanh() -> None:
    """Scaling and tanh are inverted, and actions at the bounds stay finite."""
    space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))
    pre_tanh = th.linspace(-3, 3, 14).view(7, 2)
    actions = th.tensor([0.0, 0.25]) + th.tensor([2.0, 0.25]) * th.tanh(pre_tanh)
    th.testing.assert_close(pre_tanh_actions(actions, space), pre_tanh, rtol=1e-4, atol=1e-5)
    at_bounds = pre_tanh_actions(th.tensor([[-2.0, 0.5]], dtype=th.float64), space)
    th.testing.assert_close(at_bounds, th.tensor([[-1.0, 1.0]]) * math.atanh(1 - 1e-6), rtol=0.01, atol=0)
    th.testing.assert_close(log_half_range(space, th.device("cpu")), th.tensor(math.log(2 * 0.25)))
