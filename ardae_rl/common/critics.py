"""Critics with residual blocks and layer normalisation, for any policy of SB3's SAC family."""

from typing import Any

import torch as th
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from ardae_rl.common.checks import check_choice

CRITICS = ("plain", "simba")
# CrossQ's critic is a recipe of its own (batch normalisation in place of target networks), not to be mixed with this
RESIDUAL_CRITICS = ("sac", "sac_nf", "sac_ardae", "tqc")


class ResidualBlock(nn.Module):
    """x + W₂ relu(W₁ norm(x)), four times as wide inside.

    :param width: of x
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: th.Tensor) -> th.Tensor:
        """:param x: (batch, width)"""
        return x + self.layers(x)


def residual_network(n_in: int, n_out: int, width: int, n_blocks: int) -> nn.Sequential:
    """SimBa's network (Lee et al. 2025, https://arxiv.org/abs/2410.09754), without its normalisation of observations.

    :param n_in: number of inputs
    :param n_out: number of outputs
    :param width: of the residual stream
    :param n_blocks: residual blocks
    """
    blocks = [ResidualBlock(width) for _ in range(n_blocks)]
    return nn.Sequential(nn.Linear(n_in, width), *blocks, nn.LayerNorm(width), nn.Linear(width, n_out))


def policy_with_critic(policy_class: type[BasePolicy], critic: str, width: int = 256, n_blocks: int = 2) -> Any:
    """The policy with other networks in its critics; everything else, ``policy_kwargs`` too, as before.

        SAC(policy_with_critic(SAC.policy_aliases["MlpPolicy"], "simba"), env)

    :param policy_class: of SAC, TQC, SACNF or SACARDAE
    :param critic: "plain" (as it is) or "simba"
    :param width: of the residual stream
    :param n_blocks: residual blocks
    :raises ValueError: for an unknown critic, and a policy whose critics are not plain perceptrons
    """
    check_choice("critic", critic, CRITICS)
    if critic == "plain":
        return policy_class

    class ResidualCriticPolicy(policy_class):  # type: ignore[misc,valid-type]
        def make_critic(self, *args: Any, **kwargs: Any) -> Any:
            made = super().make_critic(*args, **kwargs)
            for index, plain in enumerate(made.q_networks):
                network = residual_network(*_ends(plain, policy_class), width, n_blocks).to(self.device)
                made.q_networks[index] = network
                setattr(made, f"qf{index}", network)
            return made

    return ResidualCriticPolicy


def _ends(network: nn.Module, policy_class: type[BasePolicy]) -> tuple[int, int]:
    """Numbers of inputs and outputs of a perceptron."""
    layers = list(network.modules())
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if any(
        isinstance(layer, nn.modules.batchnorm._NormBase) or "BatchRenorm" in type(layer).__name__ for layer in layers
    ):
        raise ValueError(f"`policy_class` must have critics without batch normalization, got {policy_class.__name__}")
    return linear[0].in_features, linear[-1].out_features
