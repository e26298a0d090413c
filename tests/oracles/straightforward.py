"""A straightforward form of the estimator's network, which the hand-written gradient is compared with.

Mathematics and parameters are those of the package. The input gradient comes from autograd, so that training needs a
backward pass through a backward pass; noise level and encoded context are concatenated to every point, instead of being
multiplied once per context; and all rows go through the network at once.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch as th
from torch.nn import functional as F

from ardae_rl.common import cpu
from ardae_rl.score.networks import ContextEmbedding, ScalarGradients, ScalarNetwork


class DoubleBackpropagation(ScalarNetwork):
    """:class:`ScalarNetwork` with its input gradient from ``autograd.grad(create_graph=True)``."""

    def encode(self, context: th.Tensor | None) -> ContextEmbedding:
        if self.context_encoder is None or self.context_gain:
            raise ValueError("`context_gain` must be False, as in the paper's networks, and there must be a context")
        return ContextEmbedding(1.0, self.context_encoder[:-1](context).unsqueeze(-2))

    def _join(self, h: th.Tensor, noise_feature: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        assert self.context_encoder is not None and isinstance(embedding.shift, th.Tensor)
        rows = h.shape[:-1]
        inputs = [h, noise_feature.expand(*rows, 1), embedding.shift.expand(*rows, -1)]
        layer: Any = self.context_encoder[-1]
        weight = th.cat([self.joining_layer.weight, self.noise_layer.weight, layer.weight], dim=1)
        return F.linear(th.cat(inputs, dim=-1), weight, self.noise_layer.bias + layer.bias)

    def with_gradients(
        self, point: th.Tensor, noise_feature: th.Tensor, embedding: ContextEmbedding, with_noise_feature: bool = False
    ) -> ScalarGradients:
        training = th.is_grad_enabled()
        with th.enable_grad():
            point = point.detach().requires_grad_()
            value = self(point, noise_feature, embedding).squeeze(-1)
            (gradient,) = th.autograd.grad(value.sum(), point, create_graph=training)
        return ScalarGradients(value, gradient)


@contextmanager
def straightforward(model: Any) -> Iterator[None]:
    """Train a SACARDAE that has the paper's estimator in the straightforward form, within this context."""
    networks = [m.network for m in (model.estimator.model, model.estimator.slow_model) if m is not None]
    for network in networks:
        network.__class__ = DoubleBackpropagation
    try:
        with patch.object(cpu, "ROWS_IN_CACHE", math.inf):
            yield
    finally:
        for network in networks:
            network.__class__ = ScalarNetwork
