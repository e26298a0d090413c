"""The residual network, layer by layer."""

import pytest
import torch as th
from torch import nn

from ardae_rl.common.critics import ResidualBlock, RunningNormalization
from ardae_rl.common.critics.networks import renormalized_network, residual_network


def test_block() -> None:
    """x + W₂ relu(W₁ norm(x) + b₁) + b₂, the identity where the last layer is zero."""
    block = ResidualBlock(4)
    x = th.randn(5, 4)
    _, first, _, second = block.layers
    normalized = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = x + (normalized @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias  # type: ignore[operator]
    th.testing.assert_close(block(x), expected)


def test_residual_network() -> None:
    """Normalized observations beside actions, a linear layer, the blocks, a last normalization, a linear layer."""
    network = residual_network(n_observation=3, n_in=5, n_out=2, widths=[8, 8])
    assert [type(layer) for layer in network] == [
        RunningNormalization,
        nn.Linear,
        ResidualBlock,
        ResidualBlock,
        nn.LayerNorm,
        nn.Linear,
    ]
    x = th.randn(7, 5)
    network.eval()
    x_normalized = th.cat([x[:, :3] / (1 + 1e-5) ** 0.5, x[:, 3:]], 1)
    expected = network[5](network[4](network[3](network[2](network[1](x_normalized)))))
    th.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("widths", [[], [8, 16]])
def test_bad_widths(widths: list[int]) -> None:
    with pytest.raises(ValueError, match="`net_arch` must have one width, repeated for each residual block, got"):
        residual_network(3, 4, 1, widths)


def test_renormalized_network() -> None:
    network = renormalized_network(4, 1, [8, 16], nn.ReLU, 0.1, 1e-3, 10)
    names = [type(layer).__name__ for layer in network]
    assert names == ["BatchRenorm", "Linear", "ReLU"] * 2 + ["BatchRenorm", "Linear"]
    assert [layer.momentum for layer in network if hasattr(layer, "momentum")] == [0.1] * 3
