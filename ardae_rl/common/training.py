"""Helpers of training loops: metrics that stay on the device, target networks, gradient clipping."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch as th

_MAX_PENDING = 256


class Stateful(Protocol):
    """Anything with a state that a checkpoint can hold: modules, optimizers, learning rate schedulers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class MetricMeans:
    """Means of metrics over gradient steps, transferred to the host only once.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.training import MetricMeans
    >>> means = MetricMeans()
    >>> for loss in (1.0, 3.0):
    ...     means.add({"loss": th.tensor(loss)})
    >>> means.finite(after="2 gradient steps")
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        # For each set of names, the values by step: (n_steps, n_names)
        self._rows: dict[tuple[str, ...], list[th.Tensor]] = {}

    def add(self, metrics: dict[str, th.Tensor]) -> None:
        """Add the metrics of one gradient step.

        :param metrics: Detached scalars by name.
        """
        if not metrics:
            return
        rows = self._rows.setdefault(tuple(metrics), [])
        rows.append(th.cat([value.reshape(1) for value in metrics.values()]).unsqueeze(0))
        if len(rows) == _MAX_PENDING:  # many small tensors would fragment the memory
            rows[:] = [th.cat(rows)]

    def finite(self, after: str) -> dict[str, float]:
        """Return the means by name.

        :param after: Progress of the training to name in an error, such as "100 gradient steps".
        :raises ValueError: If a mean is not finite. It names the metric that diverged first.
        """
        values: dict[str, list[float]] = {}
        for names, rows in self._rows.items():
            for name, column in zip(names, th.cat(rows).T.tolist(), strict=True):
                values.setdefault(name, []).extend(column)
        result = {name: sum(column) / len(column) for name, column in values.items()}
        broken = [name for name, value in result.items() if not math.isfinite(value)]
        if broken:
            name = min(broken, key=lambda name: _first_broken_step(values[name]))
            raise ValueError(f"{name} is {result[name]} after {after}: training has diverged")
        return result


def _first_broken_step(values: list[float]) -> int:
    return [*map(math.isfinite, values), False].index(False)


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
    """Clip the norm of gradients to a multiple of its running mean, which includes clipped norms.

    Occasionally, a batch has a gradient several times as long as usual. Adam's scale is a mean over about a thousand
    steps and hardly reacts, so the step becomes several times longer as well.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.training import GradientLimit
    >>> limit, parameter = GradientLimit(ratio=4.0), th.nn.Parameter(th.zeros(2))
    >>> for norm in (1.0, 100.0):
    ...     parameter.grad = th.tensor([norm, 0.0])
    ...     norm_before = limit([parameter])
    >>> parameter.grad
    tensor([4., 0.])

    :param ratio: Largest norm, as a multiple of the running mean.
    :param horizon: Number of gradients over which the mean is taken.
    """

    mean_norm: th.Tensor

    def __init__(self, ratio: float, horizon: int = 100) -> None:
        super().__init__()
        self.ratio, self.horizon = ratio, horizon
        self.register_buffer("mean_norm", th.zeros(()))

    @th.no_grad()
    def forward(self, parameters: Iterable[th.nn.Parameter]) -> th.Tensor:
        """Clip the parameters' gradients in place, and return their norm before clipping."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = th.nn.utils.get_total_norm(gradients)
        self.mean_norm.copy_(th.where(self.mean_norm == 0, norm, self.mean_norm))
        scale = (self.ratio * self.mean_norm / (norm + 1e-12)).clamp(max=1)
        th._foreach_mul_(gradients, scale)
        self.mean_norm.lerp_(scale * norm, 1 / self.horizon)
        return norm
