"""Multilayer perceptrons of reward networks, with dropout and spectral normalization."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stable_baselines3.common.torch_layers import create_mlp
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ardae_rl.common.activations import activation_class
from ardae_rl.common.checks import check_between, check_widths


@dataclass(frozen=True)
class MLPOptions:
    """Architecture of a reward network's perceptrons.

    Example:

    >>> from ardae_rl.irl.mlp import MLPOptions
    >>> MLPOptions(hidden=(4,), activation_fn="tanh", dropout=0.5).make(3)
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): Tanh()
      (2): Dropout(p=0.5, inplace=False)
      (3): Linear(in_features=4, out_features=1, bias=True)
    )

    :param hidden: Widths of the hidden layers.
    :param activation_fn: Activation function: a class, or a name such as "relu".
    :param dropout: Probability with which a hidden unit is dropped in training.
    :param input_dropout: Probability with which an input is dropped in training.
    :param spectral_norm: Whether to divide the weights of each layer by their largest singular value. This bounds the
        Lipschitz constant of each perceptron with respect to its normalized inputs by 1, except with "silu", whose
        slope exceeds 1. AIRL's f is a sum of several perceptrons.
    :raises ValueError: For arguments out of range.
    """

    hidden: Sequence[int] = (64, 64)
    activation_fn: type[nn.Module] | str = nn.ReLU
    dropout: float = 0.0
    input_dropout: float = 0.0
    spectral_norm: bool = False

    def __post_init__(self) -> None:
        check_widths("hidden", self.hidden)
        activation_class("activation_fn", self.activation_fn)
        for name in ("dropout", "input_dropout"):
            check_between(name, getattr(self, name), 0, 1)

    def make(self, n_inputs: int) -> nn.Sequential:
        """Return a network with one output."""
        activation_fn = activation_class("activation_fn", self.activation_fn)
        layers: list[nn.Module] = [nn.Dropout(self.input_dropout)] if self.input_dropout > 0 else []
        for layer in create_mlp(n_inputs, 1, list(self.hidden), activation_fn):
            is_linear = isinstance(layer, nn.Linear)
            layers.append(spectral_norm(layer) if is_linear and self.spectral_norm else layer)
            if not is_linear and self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
        return nn.Sequential(*layers)

    def as_kwargs(self) -> dict[str, Any]:
        """Return the options as keyword arguments."""
        return asdict(self) | {"hidden": tuple(self.hidden)}
