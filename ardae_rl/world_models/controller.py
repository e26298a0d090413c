"""The controller: a small network whose parameters are passed as a vector, a different one for each environment."""

from collections.abc import Sequence

import torch as th

from ardae_rl.common.checks import check_count, check_widths


class Controller:
    """A network of tanh layers whose parameters are passed at every call; without hidden layers it is tanh(W f + b).

    Reference: Ha and Schmidhuber (2018), World Models, Eq. 1, which has 867 parameters for CarRacing.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.controller import Controller
    >>> controller = Controller(n_features=288, n_outputs=3)
    >>> controller.n_parameters
    867
    >>> controller(th.zeros(5, 867), th.randn(5, 288)).shape
    torch.Size([5, 3])

    :param n_features: Dimension of the features f.
    :param n_outputs: Number of outputs, each in [-1, 1].
    :param hidden: Widths of the hidden layers.
    :raises ValueError: For a number below 1.
    :raises TypeError: If ``hidden`` is no sequence of integers.
    """

    def __init__(self, n_features: int, n_outputs: int, hidden: Sequence[int] = ()) -> None:
        for name, value in {"n_features": n_features, "n_outputs": n_outputs}.items():
            check_count(name, value)
        check_widths("hidden", hidden)
        widths = (n_features, *hidden, n_outputs)
        self._shapes = list(zip(widths[1:], widths[:-1], strict=True))  # of the layers' weights
        self._sizes = [n_out * (n_in + 1) for n_out, n_in in self._shapes]
        self.n_parameters = sum(self._sizes)

    def __call__(self, parameters: th.Tensor, features: th.Tensor) -> th.Tensor:
        """Return the outputs, (n, n_outputs).

        :param parameters: Parameters (n, n_parameters), or (n_parameters,) for the same network in all rows.
        :param features: Features (n, n_features).
        :raises ValueError: For the wrong number of parameters.
        """
        if parameters.shape[-1] != self.n_parameters:
            raise ValueError(f"`parameters` must have shape (n, {self.n_parameters}), got {tuple(parameters.shape)}")
        x = features
        for layer, (n_out, n_in) in zip(parameters.split(self._sizes, -1), self._shapes, strict=True):
            weights = layer.unflatten(-1, (n_out, n_in + 1))
            x = (weights[..., :n_in] @ x.unsqueeze(-1)).squeeze(-1) + weights[..., n_in]
            x = x.tanh()
        return x
