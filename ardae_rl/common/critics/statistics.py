"""Layers that normalize by running statistics: of observations, and of activations (batch renormalization)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch as th
from torch import nn
from torch.nn import functional as F


class RunningNormalization(nn.Module):
    """Normalizes the first columns of its input by their running mean and variance; the others pass unchanged.

    In training mode, each forward pass updates the statistics first; all batches have the same weight. No gradient
    flows through the statistics. This is SimBa's normalization of observations (Lee et al. 2025,
    https://arxiv.org/abs/2410.09754).

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.critics import RunningNormalization
    >>> normalize = RunningNormalization(1)
    >>> normalize(th.tensor([[4.0, 7.0], [8.0, 7.0]]))
    tensor([[-1.0000,  7.0000],
            [ 1.0000,  7.0000]])

    :param n_columns: Number of columns to normalize.
    :param eps: Number that is added to the variance.
    """

    running_mean: th.Tensor
    running_var: th.Tensor
    running_steps: th.Tensor

    def __init__(self, n_columns: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.n_columns, self.eps = n_columns, eps
        # SB3 copies statistics with such names to target networks
        self.register_buffer("running_mean", th.zeros(n_columns))
        self.register_buffer("running_var", th.ones(n_columns))
        self.register_buffer("running_steps", th.zeros(()))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return a tensor of the shape of x, (batch, n)."""
        columns, others = x[:, : self.n_columns], x[:, self.n_columns :]
        if self.training:
            self._update(columns.detach())
        normalized = (columns - self.running_mean) * (self.running_var + self.eps).rsqrt()
        return th.cat([normalized, others], dim=1)

    def _update(self, columns: th.Tensor) -> None:
        self.running_steps += 1
        weight = 1 / self.running_steps
        var, mean = th.var_mean(columns, dim=0, correction=0)
        deviation = mean - self.running_mean
        self.running_mean += weight * deviation
        # The variance within the batches, and that of their means
        self.running_var.lerp_(var, weight)
        self.running_var += weight * (1 - weight) * deviation.square()


class BatchRenorm(nn.Module):
    """Batch renormalization (Ioffe 2017, https://arxiv.org/abs/1702.03275) of activations, as in sb3-contrib's CrossQ.

    It normalizes by the running statistics, and by those of the batch inside :func:`batch_statistics`, where it also
    updates the running ones. The training mode of the network has no influence, so that a critic can be evaluated
    anywhere without changing it. In the first updates, it is plain batch normalization; afterwards the statistics of
    the batch are corrected towards the running ones.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.critics import BatchRenorm, batch_statistics
    >>> layer = BatchRenorm(1, eps=1e-12)
    >>> x = th.tensor([[4.0], [5.0], [6.0]])
    >>> with batch_statistics(layer):
    ...     y = layer(x)
    >>> y.flatten()
    tensor([-1.,  0.,  1.], grad_fn=<ViewBackward0>)
    >>> bool((layer(x) == y).any())  # outside of the block, by the running statistics
    False

    :param n_features: Number of activations.
    :param momentum: Weight of a batch in the running statistics.
    :param eps: Number that is added to the variance.
    :param warmup_steps: Number of updates with plain batch normalization after the first one, as in sb3-contrib.
    """

    MAX_SCALE, MAX_SHIFT = 3.0, 5.0
    running_mean: th.Tensor
    running_var: th.Tensor
    running_steps: th.Tensor

    def __init__(self, n_features: int, momentum: float = 0.01, eps: float = 1e-3, warmup_steps: int = 100_000) -> None:
        super().__init__()
        self.momentum, self.eps, self.warmup_steps = momentum, eps, warmup_steps
        self.collects = False
        self.scale = nn.Parameter(th.ones(n_features))
        self.bias = nn.Parameter(th.zeros(n_features))
        self.register_buffer("running_mean", th.zeros(n_features))
        self.register_buffer("running_var", th.ones(n_features))
        self.register_buffer("running_steps", th.zeros(()))

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return a tensor of the shape of x, (batch, n_features)."""
        if not self.collects:
            scale = self.scale * (self.running_var + self.eps).rsqrt()
            return th.addcmul(self.bias - self.running_mean * scale, x, scale)
        # Reading the counter would make the host wait for a GPU, and is impossible while recording a CUDA graph
        plain = x.device.type == "cpu" and bool(self.running_steps <= self.warmup_steps)
        y = self._normalized(x) if plain else self._renormalized(x)
        with th.no_grad():
            self.running_steps += 1
        return y

    def _normalized(self, x: th.Tensor) -> th.Tensor:
        """Return batch-normalized activations, by PyTorch's fused kernel."""
        # The kernel normalizes by the biased variance v, and v n / (n - 1) + ε = (v + ε (n - 1) / n) n / (n - 1)
        ratio = (len(x) - 1) / len(x)
        scale, eps = self.scale * ratio**0.5, self.eps * ratio
        return F.batch_norm(x, self.running_mean, self.running_var, scale, self.bias, True, self.momentum, eps)

    def _renormalized(self, x: th.Tensor) -> th.Tensor:
        var, mean = th.var_mean(x, dim=0)
        with th.no_grad():
            running_std = (self.running_var + self.eps).sqrt()
            warm = self.running_steps > self.warmup_steps
            r = ((var + self.eps).sqrt() / running_std).clamp(1 / self.MAX_SCALE, self.MAX_SCALE)
            d = ((mean - self.running_mean) / running_std).clamp(-self.MAX_SHIFT, self.MAX_SHIFT)
            r, d = th.where(warm, r, 1.0), th.where(warm, d, 0.0)
        # A unit that is zero in the whole batch has zero variance, where the square root has no derivative
        center = mean - d / r * var.clamp_min(1e-12).sqrt()
        y = (x - center) / (var / r**2 + self.eps).sqrt()
        with th.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        return self.scale * y + self.bias


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let the network's BatchRenorm layers normalize by, and collect, the statistics of batches inside the block.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.critics import BatchRenorm, batch_statistics
    >>> layer = BatchRenorm(2)
    >>> with batch_statistics(layer):
    ...     y = layer(5 + th.randn(100, 2))
    >>> bool((layer.running_mean > 0).all())
    True
    """
    with _attribute(network, BatchRenorm, "collects", True):
        yield


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the statistics of the network's RunningNormalization layers inside the block, even in training mode.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.critics import RunningNormalization, frozen_statistics
    >>> layer = RunningNormalization(2)
    >>> with frozen_statistics(layer):
    ...     y = layer(5 + th.randn(100, 2))
    >>> layer.training
    True
    """
    with _attribute(network, RunningNormalization, "training", False):
        yield


@contextmanager
def _attribute(network: nn.Module, kind: type[nn.Module], name: str, value: bool) -> Iterator[None]:
    """Set an attribute of all layers of a kind inside the block."""
    layers = [layer for layer in network.modules() if isinstance(layer, kind)]
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, earlier in zip(layers, before, strict=True):
            setattr(layer, name, earlier)
