"""Critics with residual blocks and layer normalization, for any policy of SB3's SAC family."""

from typing import Any

import torch as th
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from ardae_rl.common.checks import check_choice

CRITICS = ("plain", "simba")
# Not CrossQ, whose critics have batch normalization in place of target networks
RESIDUAL_CRITICS = ("sac", "sac_nf", "sac_ardae", "tqc")


class ResidualBlock(nn.Module):
    """A residual block x + W₂ relu(W₁ norm(x)), whose hidden layer is four times as wide as x.

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


def residual_network(n_in: int, n_out: int, width: int, n_blocks: int) -> nn.Sequential:
    """Return SimBa's network (Lee et al. 2025, https://arxiv.org/abs/2410.09754) without its observation normalization.

    :param n_in: Number of inputs.
    :param n_out: Number of outputs.
    :param width: Width of the residual stream.
    :param n_blocks: Number of residual blocks.
    """
    blocks = [ResidualBlock(width) for _ in range(n_blocks)]
    return nn.Sequential(nn.Linear(n_in, width), *blocks, nn.LayerNorm(width), nn.Linear(width, n_out))


def policy_with_critic(policy_class: type[BasePolicy], critic: str, width: int = 256, n_blocks: int = 2) -> Any:
    """Return a subclass of a policy with other networks in its critics. Everything else is unchanged.

    Example:

    >>> from stable_baselines3 import SAC
    >>> from ardae_rl.common.critics import policy_with_critic
    >>> model = SAC(policy_with_critic(SAC.policy_aliases["MlpPolicy"], "simba"), "Pendulum-v1")

    :param policy_class: Policy of SAC, TQC, SACNF or SACARDAE.
    :param critic: "plain" (unchanged) or "simba".
    :param width: Width of the residual stream.
    :param n_blocks: Number of residual blocks.
    :raises ValueError: For an unknown critic, and for a policy whose critics are not plain perceptrons.
    """
    check_choice("critic", critic, CRITICS)
    if critic == "plain":
        return policy_class

    class ResidualCriticPolicy(policy_class):  # type: ignore[misc,valid-type]
        def make_critic(self, *args: Any, **kwargs: Any) -> Any:
            made = super().make_critic(*args, **kwargs)
            for index, plain in enumerate(made.q_networks):
                network = residual_network(*_n_in_and_out(plain, policy_class), width, n_blocks).to(self.device)
                made.q_networks[index] = network
                setattr(made, f"qf{index}", network)
            return made

    return ResidualCriticPolicy


def _n_in_and_out(network: nn.Module, policy_class: type[BasePolicy]) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a perceptron."""
    layers = list(network.modules())
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if any(
        isinstance(layer, nn.modules.batchnorm._NormBase) or "BatchRenorm" in type(layer).__name__ for layer in layers
    ):
        raise ValueError(f"`policy_class` must have critics without batch normalization, got {policy_class.__name__}")
    return linear[0].in_features, linear[-1].out_features
