"""Networks of critics: residual ones with layer normalization, and MLPs with batch renormalization."""

from functools import partial

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.common.critics.statistics import BatchRenorm, RunningNormalization


class ResidualBlock(nn.Module):
    """A residual block x + W₂ relu(W₁ norm(x)), whose hidden layer is four times as wide as x.

    Example:

    >>> import torch as th
    >>> from ardae_rl.common.critics import ResidualBlock
    >>> ResidualBlock(8)(th.zeros(3, 8)).shape
    torch.Size([3, 8])

    :param width: Width of x.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: th.Tensor) -> th.Tensor:
        """Return a tensor of the shape of x, (batch, width)."""
        return x + self.layers(x)


def residual_network(n_observation: int, n_in: int, n_out: int, widths: list[int]) -> nn.Sequential:
    """Return SimBa's network (Lee et al. 2025, https://arxiv.org/abs/2410.09754).

    :param n_observation: Number of inputs that are observations. They come first, and are normalized.
    :param n_in: Number of inputs.
    :param n_out: Number of outputs.
    :param widths: Width of the residual stream, once per block.
    :raises ValueError: If ``widths`` is empty, or if the widths differ.
    """
    if len(set(widths)) != 1:
        raise ValueError(f"`net_arch` must have one width, repeated for each residual block, got {widths}")
    width = widths[0]
    blocks = [ResidualBlock(width) for _ in widths]
    stem = (RunningNormalization(n_observation), nn.Linear(n_in, width))
    return nn.Sequential(*stem, *blocks, nn.LayerNorm(width), nn.Linear(width, n_out))


def renormalized_network(
    n_in: int,
    n_out: int,
    widths: list[int],
    activation_fn: type[nn.Module],
    momentum: float,
    eps: float,
    warmup_steps: int,
) -> nn.Sequential:
    """Return CrossQ's network: an MLP with batch renormalization before each linear layer.

    :param n_in: Number of inputs.
    :param n_out: Number of outputs.
    :param widths: Widths of the hidden layers.
    :param activation_fn: Activation function.
    :param momentum: Argument of :class:`BatchRenorm`, like ``eps`` and ``warmup_steps``.
    """
    renorm = partial(BatchRenorm, momentum=momentum, eps=eps, warmup_steps=warmup_steps)
    return nn.Sequential(*create_mlp(n_in, n_out, widths, activation_fn, pre_linear_modules=[renorm]))  # type: ignore[list-item]
