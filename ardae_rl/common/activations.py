"""Activation functions that torch lacks."""

import torch as th
from torch import nn


class LogisticTanh(nn.Module):
    """tanh x = 1 - 2 / (1 + exp(2x)), to 2e-7 in single precision: vectorised better than ``nn.Tanh`` on a CPU."""

    def forward(self, x: th.Tensor) -> th.Tensor:
        scaled = -2 * x
        logistic = th.sigmoid(scaled) if th.is_grad_enabled() else scaled.sigmoid_()
        return th.rsub(logistic, 1, alpha=2)
