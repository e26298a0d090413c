"""Activation functions with their derivatives, both made of differentiable operations."""

from collections.abc import Callable
from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice


class Activation(NamedTuple):
    """A pointwise function, the function together with its derivative, and its module."""

    value: Callable[[th.Tensor], th.Tensor]
    value_and_slope: Callable[[th.Tensor], tuple[th.Tensor, th.Tensor]]
    module: type[nn.Module]


def _silu(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    gate = th.sigmoid(x)
    value = x * gate
    return value, gate + value * (1 - gate)


def _softplus(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    return F.softplus(x), th.sigmoid(x)


def _elu(x: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    value = F.elu(x)
    return value, (value + 1).clamp(max=1)


ACTIVATIONS = {
    "silu": Activation(F.silu, _silu, nn.SiLU),
    "softplus": Activation(F.softplus, _softplus, nn.Softplus),
    "elu": Activation(F.elu, _elu, nn.ELU),
}


def activation_called(name: str) -> Activation:
    """Return the activation function called ``name``.

    :raises ValueError: If the name is unknown.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]
