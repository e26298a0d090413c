"""The estimator's network as one would write it first: what the hand-written gradient is compared to.

The same mathematics and parameters, with three things left to autograd and to memory: the input gradient comes from
autograd, so that training goes backward through a backward; noise and encoded context are concatenated to every point
instead of being multiplied once a context; all rows go through the network at once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch as th
from torch.nn import functional as F

from ardae_rl.score import ardae
from ardae_rl.score.networks import ContextCode, ScalarGradients, ScalarNetwork


class DoubleBackpropagation(ScalarNetwork):
    """:class:`ScalarNetwork` with its input gradient from ``autograd.grad(create_graph=True)``."""

    def encode(self, context: th.Tensor | None) -> ContextCode:
        if self.context_encoder is None or self.context_gain:
            raise ValueError("accepted are networks whose context only shifts, as the paper's")
        return ContextCode(1.0, self.context_encoder[:-1](context).unsqueeze(-2))

    def _join(self, h: th.Tensor, noise_feature: th.Tensor, code: ContextCode) -> th.Tensor:
        assert self.context_encoder is not None and isinstance(code.shift, th.Tensor)
        rows = h.shape[:-1]
        inputs = [h, noise_feature.expand(*rows, 1), code.shift.expand(*rows, -1)]
        layer: Any = self.context_encoder[-1]
        weight = th.cat([self.joining_layer.weight, self.noise_layer.weight, layer.weight], dim=1)
        return F.linear(th.cat(inputs, dim=-1), weight, self.noise_layer.bias + layer.bias)

    def with_gradients(
        self, point: th.Tensor, noise_feature: th.Tensor, code: ContextCode, with_noise_feature: bool = False
    ) -> ScalarGradients:
        training = th.is_grad_enabled()
        with th.enable_grad():
            point = point.detach().requires_grad_()
            value = self(point, noise_feature, code).squeeze(-1)
            (gradient,) = th.autograd.grad(value.sum(), point, create_graph=training)
        return ScalarGradients(value, gradient)


@contextmanager
def straightforward(model: Any) -> Iterator[None]:
    """Within it, a SACARDAE with the paper's estimator trains in the straightforward form of itself."""
    networks = [m.network for m in (model.estimator.model, model.estimator.slow_model) if m is not None]
    for network in networks:
        network.__class__ = DoubleBackpropagation
    try:
        with mock.patch.object(ardae, "_ROWS_IN_CACHE", sys.maxsize):
            yield
    finally:
        for network in networks:
            network.__class__ = ScalarNetwork
