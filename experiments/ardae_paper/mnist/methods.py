"""The compared methods: a family of posteriors, and how the gradient of its entropy is computed."""

from typing import Any, NamedTuple

from torch import nn

from ardae_rl.common.checks import check_choice
from experiments.ardae_paper.mnist.autoencoder import Autoencoder, make_autoencoder
from experiments.ardae_paper.mnist.bounds import AuxiliaryBound, Bound, EstimatedBound, GaussianBound
from experiments.ardae_paper.mnist.entropy import ClassifierEntropy, ScoreEntropy

METHODS = {
    "gaussian": "Gaussian",
    "hvi_aux": "HVI aux",
    "avb": "AVB",
    "hvi_ardae": "HVI AR-DAE",
    "ivi_ardae": "IVI AR-DAE",
    "ivi_ardae_paper": "IVI AR-DAE, paper's estimator",
}
FAMILIES = {"gaussian": "gaussian", "hvi_aux": "hierarchical", "hvi_ardae": "hierarchical"}


class Trainee(NamedTuple):
    """An autoencoder and the bound that trains it."""

    model: Autoencoder
    bound: Bound

    def trained(self) -> nn.ModuleList:
        """Return the modules that ascend the bound, the autoencoder first."""
        return nn.ModuleList([self.model] if isinstance(self.bound, EstimatedBound) else [self.model, self.bound])


def make_trainee(architecture: str, method: str, networks: dict[str, Any], entropy: dict[str, Any]) -> Trainee:
    """Return the networks of a method.

    :param architecture: "mlp", "conv" or "resconv".
    :param method: One of :data:`METHODS`.
    :param networks: Further arguments of :func:`~experiments.ardae_paper.mnist.autoencoder.make_autoencoder`.
    :param entropy: Arguments of :class:`~experiments.ardae_paper.mnist.entropy.ScoreEntropy` or
        :class:`~experiments.ardae_paper.mnist.entropy.ClassifierEntropy`, except posterior and features.
    """
    check_choice("method", method, METHODS)
    model, layers = make_autoencoder(architecture, FAMILIES.get(method, "implicit"), **networks)
    bound: Bound
    if method == "gaussian":
        bound = GaussianBound(model)
    elif method == "hvi_aux":
        bound = AuxiliaryBound(model, layers.n_features, networks["noise_dim"], layers.hidden)
    else:
        kind: Any = ClassifierEntropy if method == "avb" else ScoreEntropy
        bound = EstimatedBound(model, kind(model.posterior, layers.n_features, **entropy))
    return Trainee(model, bound)
