"""What training loops share: metrics that stay on the device until training ends, limits on gradients."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch as th

_APART = 256


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimizers, learning rate schedulers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class MetricMeans:
    """Means of the metrics of several gradient steps, brought to the host once."""

    def __init__(self) -> None:
        self._values: dict[str, list[th.Tensor]] = {}

    def add(self, metrics: dict[str, th.Tensor]) -> None:
        """:param metrics: scalars by name, detached"""
        for name, value in metrics.items():
            values = self._values.setdefault(name, [])
            values.append(value.reshape(1))
            if len(values) == _APART:  # small ones that stay keep the allocator from reusing what was freed around them
                values[:] = [th.cat(values)]

    def finite(self, after: str) -> dict[str, float]:
        """The means.

        :param after: what to say of the moment in an error, such as "100 gradient steps"
        :raises ValueError: if one is not finite, naming the one that was so first
        """
        if not self._values:
            return {}
        means = th.stack([th.cat(values).mean() for values in self._values.values()]).tolist()
        result = dict(zip(self._values, means, strict=True))
        broken = [name for name, value in result.items() if not math.isfinite(value)]
        if broken:
            name = min(broken, key=self._first_broken_step)
            raise ValueError(f"{name} is {result[name]} after {after}: training has diverged")
        return result

    def _first_broken_step(self, name: str) -> int:
        finite = th.cat(self._values[name]).isfinite().tolist()
        return [*finite, False].index(False)


@contextmanager
def frozen(parameters: Iterable[th.nn.Parameter]) -> Iterator[None]:
    """Compute no gradients for these parameters inside the block; gradients still flow through their network."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


@th.no_grad()
def polyak_update_foreach(params: Iterable[th.Tensor], target_params: Iterable[th.Tensor], tau: float) -> None:
    """Update the target parameters in place: (1 - τ) target + τ parameter, as SB3's ``polyak_update`` in one call."""
    th._foreach_lerp_(list(target_params), list(params), tau)


class GradientLimit(th.nn.Module):
    """Bounds the norm of gradients at a multiple of what it usually is, its running mean after the bound.

    Now and then a batch has a gradient several times as long as usual. Adam's scale, a mean over a thousand steps, does
    not see it coming, and makes a step of as many times the usual length.

    :param ratio: the multiple
    :param horizon: gradients over which the mean is taken
    """

    usual: th.Tensor

    def __init__(self, ratio: float, horizon: int = 100) -> None:
        super().__init__()
        self.ratio, self.horizon = ratio, horizon
        self.register_buffer("usual", th.zeros(()))

    @th.no_grad()
    def forward(self, parameters: Iterable[th.nn.Parameter]) -> th.Tensor:
        """Shorten the parameters' gradients in place where they are too long; the norm that they had."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = th.nn.utils.get_total_norm(gradients)
        self.usual.copy_(th.where(self.usual == 0, norm, self.usual))
        scale = (self.ratio * self.usual / (norm + 1e-12)).clamp(max=1)
        th._foreach_mul_(gradients, scale)
        self.usual.lerp_(scale * norm, 1 / self.horizon)
        return norm
