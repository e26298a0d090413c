"""Multilayer perceptrons over (point, noise feature, context); the scalar one has a hand-written input gradient."""

import inspect
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_bool, check_widths
from ardae_rl.score.activations import activation_called
from ardae_rl.score.fourier import FourierFeatures


class ContextEmbedding(NamedTuple):
    """The effect of a context on the joining layer: gain and shift of its units, each (batch, 1, width)."""

    gain: th.Tensor | float
    shift: th.Tensor | float


class ConditionalNetwork(nn.Module):
    """Layers for the point alone, a layer that joins it with noise level and context, and hidden layers.

    The weights of the joining layer are split by input, so that each context is encoded once for all of its points.

    :param dim: Dimension of a point.
    :param context_dim: Dimension of the context; 0 for none.
    :param n_out: Number of outputs.
    :param hidden: Widths of the joining layer and of the layers after it.
    :param context_hidden: Widths of the context encoder's hidden layers.
    :param point_hidden: Widths of the layers that process the point before it is joined.
    :param context_gain: Whether the context also multiplies the joining layer's units (FiLM), or only shifts them.
    :param activation: "silu", "softplus" or "elu".
    :param n_frequencies: Number of directions of the point's :class:`~ardae_rl.score.fourier.FourierFeatures`.
    :param frequency: Standard deviation of these directions' components.
    :raises ValueError: If ``hidden`` is empty, or another argument has a value that is not supported.
    :raises TypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        dim: int,
        context_dim: int,
        n_out: int,
        hidden: Sequence[int] = (64, 64),
        context_hidden: Sequence[int] = (128, 128),
        point_hidden: Sequence[int] = (),
        context_gain: bool = True,
        activation: str = "silu",
        n_frequencies: int = 0,
        frequency: float = 3.0,
    ):
        super().__init__()
        for name, widths in {"hidden": hidden, "context_hidden": context_hidden, "point_hidden": point_hidden}.items():
            check_widths(name, widths)
        check_bool("context_gain", context_gain)
        self.activation = activation_called(activation)
        self.context_gain = context_gain
        if not hidden:
            raise ValueError(f"`hidden` must have at least one width, got {hidden!r}")
        width = hidden[0]
        self.features = FourierFeatures(dim, n_frequencies, frequency)
        n_in = self.features.n_features
        self.point_layers = _linear_layers(n_in, point_hidden)
        self.joining_layer = nn.Linear((n_in, *point_hidden)[-1], width, bias=False)
        # Inputs have unit scale: unit-variance projections, whatever the dimension
        nn.init.normal_((*self.point_layers, self.joining_layer)[0].weight, std=1 / math.sqrt(dim + n_frequencies))
        self.noise_layer = nn.Linear(1, width)
        self.context_encoder: nn.Sequential | None = None
        if context_dim > 0:
            layers = [
                module
                for layer in _linear_layers(context_dim, context_hidden)
                for module in (layer, self.activation.module())
            ]
            n_shifts = 2 * width if context_gain else width
            self.context_encoder = nn.Sequential(*layers, nn.Linear((context_dim, *context_hidden)[-1], n_shifts))
        self.hidden_layers = _linear_layers(width, hidden[1:])
        self.output_layer = nn.Linear(hidden[-1], n_out)
        # Zero at initialization: a preconditioned model then equals its Gaussian
        nn.init.zeros_(self.output_layer.weight)
        nn.init.zeros_(self.output_layer.bias)

    def encode(self, context: th.Tensor | None) -> ContextEmbedding:
        """Return the embedding of contexts.

        :param context: (batch, context_dim), or None for an unconditional network.
        """
        if self.context_encoder is None:
            return ContextEmbedding(1.0, 0.0)
        embedding = self.context_encoder(context).unsqueeze(-2)
        if not self.context_gain:
            return ContextEmbedding(1.0, embedding)
        gain, shift = embedding.chunk(2, dim=-1)
        return ContextEmbedding(1 + gain, shift)

    def _join(self, h: th.Tensor, noise_feature: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        return self.joining_layer(h) * embedding.gain + self.noise_layer(noise_feature) + embedding.shift

    def forward(self, point: th.Tensor, noise_feature: th.Tensor, embedding: ContextEmbedding) -> th.Tensor:
        """Return the outputs, (batch, n, n_out).

        :param point: Points, (batch, n, dim).
        :param noise_feature: Feature of the noise scale, (batch, n, 1), or anything that broadcasts against it.
        :param embedding: From :meth:`encode`.
        """
        h = self.features(point)
        for layer in self.point_layers:
            h = self.activation.value(layer(h))
        h = self.activation.value(self._join(h, noise_feature, embedding))
        for layer in self.hidden_layers:
            h = self.activation.value(layer(h))
        return self.output_layer(h)


NETWORK_ARGUMENTS = tuple(inspect.signature(ConditionalNetwork).parameters)[3:]
"""Names of the arguments other than dimensions and number of outputs."""


class ScalarGradients(NamedTuple):
    """The value of a scalar network and its derivatives."""

    value: th.Tensor  # (batch, n)
    point: th.Tensor  # (batch, n, dim)
    noise_feature: th.Tensor | None = None  # (batch, n)


class ScalarNetwork(ConditionalNetwork):
    """A scalar field G with its gradients ∂G/∂point and ∂G/∂(noise feature), which are differentiable themselves.

    The gradients are an explicit second pass through the layers, so that a loss on them needs one backward pass, not a
    backward pass through a backward pass. The arguments are those of :class:`ConditionalNetwork`; ``n_out`` must be 1.
    """

    def with_gradients(
        self, point: th.Tensor, noise_feature: th.Tensor, embedding: ContextEmbedding, with_noise_feature: bool = False
    ) -> ScalarGradients:
        """Return the value and its derivatives; arguments are those of :meth:`forward`.

        :param with_noise_feature: Whether to return the derivative with respect to the noise feature as well.
        """
        slopes = []
        h = features = self.features(point)
        for layer in self.point_layers:
            h, slope = self.activation.value_and_slope(layer(h))
            slopes.append(slope)
        h, joining_slope = self.activation.value_and_slope(self._join(h, noise_feature, embedding))
        slopes.append(joining_slope)
        for layer in self.hidden_layers:
            h, slope = self.activation.value_and_slope(layer(h))
            slopes.append(slope)
        value = self.output_layer(h).squeeze(-1)

        # Backward by hand: g is the derivative of G with respect to the current layer's pre-activation
        g = slopes.pop() * self.output_layer.weight[0]
        for layer in reversed(list(self.hidden_layers)):
            g = _transposed(layer, g) * slopes.pop()
        noise_gradient = _transposed(self.noise_layer, g).squeeze(-1) if with_noise_feature else None
        g = _transposed(self.joining_layer, g * embedding.gain)
        for layer in reversed(list(self.point_layers)):
            g = _transposed(layer, g * slopes.pop())
        return ScalarGradients(value, self.features.pull_back(features, g), noise_gradient)


def _linear_layers(n_in: int, widths: Sequence[int]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(n, m) for n, m in zip((n_in, *widths), widths, strict=False))


def _transposed(layer: nn.Module, g: th.Tensor) -> th.Tensor:
    """Return the gradient with respect to a linear layer's input, from that with respect to its output."""
    assert isinstance(layer, nn.Linear)
    return F.linear(g, layer.weight.t())
