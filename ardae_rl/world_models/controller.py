"""The controller: a small network whose parameters come as a vector, one for each environment."""

import math
from collections.abc import Sequence

import torch as th

from ardae_rl.common.checks import check_positive


class Controller:
    """tanh(W f + b), or a network with tanh layers, with parameters from outside.

    For no hidden layers that is Ha and Schmidhuber's (2018, Eq. 1), with 867 parameters for CarRacing.

    :param n_features: dimension of the features f
    :param n_outputs: dimension of the actions, each in [-1, 1]
    :param hidden: widths of hidden layers
    """

    def __init__(self, n_features: int, n_outputs: int, hidden: Sequence[int] = ()) -> None:
        for name, value in {"n_features": n_features, "n_outputs": n_outputs}.items():
            check_positive(name, value)
        for value in hidden:
            check_positive("hidden", value)
        widths = (n_features, *hidden, n_outputs)
        self._shapes = list(zip(widths[1:], widths[:-1], strict=True))  # of the layers' weights
        self._sizes = [n_out * (n_in + 1) for n_out, n_in in self._shapes]
        self.n_parameters = sum(self._sizes)

    def __call__(self, parameters: th.Tensor, features: th.Tensor) -> th.Tensor:
        """Actions (n, n_outputs).

        :param parameters: (n, n_parameters), or (n_parameters) for the same in all rows
        :param features: (n, n_features)
        :raises ValueError: for another number of parameters
        """
        if parameters.shape[-1] != self.n_parameters:
            raise ValueError(f"parameters: {parameters.shape[-1]} of them; accepted are {self.n_parameters}")
        x = features
        for layer, (n_out, n_in) in zip(parameters.split(self._sizes, -1), self._shapes, strict=True):
            weights = layer.unflatten(-1, (n_out, n_in + 1))
            x = (weights[..., :n_in] @ x.unsqueeze(-1)).squeeze(-1) + weights[..., n_in]
            x = x.tanh()
        return x

    def initial_parameters(self, scale: float = 1.0, generator: th.Generator | None = None) -> th.Tensor:
        """Normal weights of variance ``scale``² / n_in and zero biases, (n_parameters)."""
        layers = []
        for n_out, n_in in self._shapes:
            weights = th.zeros(n_out, n_in + 1)
            weights[:, :n_in].normal_(0, scale / math.sqrt(n_in), generator=generator)
            layers.append(weights.flatten())
        return th.cat(layers)
