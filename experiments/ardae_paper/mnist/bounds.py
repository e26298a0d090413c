"""The objectives that train an autoencoder: the evidence lower bound, with three ways to the posterior's entropy."""

from abc import ABC, abstractmethod

import torch as th
from torch import nn
from torch.distributions import Independent
from torch.nn import functional as F

from experiments.ardae_paper.mnist.autoencoder import Autoencoder, log_prior
from experiments.ardae_paper.mnist.entropy import EntropyGradient
from experiments.ardae_paper.mnist.posteriors import GaussianHead, GaussianPosterior, HierarchicalPosterior


class Bound(nn.Module, ABC):
    """A lower bound on ln p(x), or a scalar with its gradient.

    :param model: The autoencoder.
    """

    kind: str  # of the evidence lower bound in a table: "exact" (up to sampling), "auxiliary" or "estimated"

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self._model = [model]  # in a list, so that it is not a submodule

    @property
    def model(self) -> Autoencoder:
        return self._model[0]

    @abstractmethod
    def objective(self, x: th.Tensor, beta: float = 1.0) -> th.Tensor:
        """Return the mean over images (batch, n_pixels) of the bound, a scalar to be maximized.

        :param beta: Weight of all terms but the likelihood (β-annealing).
        """


class TractableBound(Bound):
    """A bound whose value is known up to Monte Carlo error."""

    @abstractmethod
    def terms(self, x: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor]:
        """Return ln p(x|z) and the rest of the bound at ``n`` latents per image, each (batch, n)."""

    def objective(self, x: th.Tensor, beta: float = 1.0) -> th.Tensor:
        log_likelihood, rest = self.terms(x, 1)
        return (log_likelihood + beta * rest).mean()

    def log_weights(self, x: th.Tensor, n: int) -> th.Tensor:
        """Return log importance weights, (batch, n). Their mean is the bound; the mean of the weights is p(x)."""
        log_likelihood, rest = self.terms(x, n)
        return log_likelihood + rest


class GaussianBound(TractableBound):
    """The bound with a Gaussian posterior; in training, its Kullback-Leibler term is in closed form."""

    kind = "exact"

    def objective(self, x: th.Tensor, beta: float = 1.0) -> th.Tensor:
        q = self._distribution(x)
        normal = q.base_dist
        divergence = 0.5 * (normal.mean.square() + normal.variance - 1 - normal.variance.log()).sum(-1)
        log_likelihood = self.model.log_likelihood(x, q.rsample().unsqueeze(1)).squeeze(1)
        return (log_likelihood - beta * divergence).mean()

    def terms(self, x: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor]:
        q = self._distribution(x)
        z = q.rsample((n,))
        log_q = q.log_prob(z).transpose(0, 1)
        z = z.transpose(0, 1)
        return self.model.log_likelihood(x, z), log_prior(z) - log_q

    def _distribution(self, x: th.Tensor) -> Independent:
        posterior = self.model.posterior
        if not isinstance(posterior, GaussianPosterior):
            raise TypeError(f"`model.posterior` must be a GaussianPosterior, got {type(posterior).__name__}")
        return posterior.distribution(self.model.features(x))


class AuxiliaryBound(TractableBound):
    """The auxiliary bound with a hierarchical posterior (Maaløe et al. 2016; Ranganath et al. 2016):

        ln p(x) ≥ E[ln p(x, z) - ln q(z0|x) - ln q(z|z0, x) + ln h(z0|z, x)].

    :param model: The autoencoder.
    :param n_features: Number of the encoder's features.
    :param auxiliary_dim: Dimension of z0.
    :param hidden: Width of h's hidden layer.
    """

    kind = "auxiliary"  # below the evidence lower bound

    def __init__(self, model: Autoencoder, n_features: int, auxiliary_dim: int, hidden: int) -> None:
        super().__init__(model)
        self.feature_layer = nn.Linear(n_features, hidden)
        self.latent_layer = nn.Linear(model.posterior.dim, hidden, bias=False)
        self.head = GaussianHead(hidden, auxiliary_dim)

    def terms(self, x: th.Tensor, n: int) -> tuple[th.Tensor, th.Tensor]:
        posterior = self.model.posterior
        if not isinstance(posterior, HierarchicalPosterior):
            raise TypeError(f"`model.posterior` must be a HierarchicalPosterior, got {type(posterior).__name__}")
        features = self.model.features(x)
        sample = posterior.sample_hierarchy(features, n)
        h: Independent = self.head(F.relu(self.feature_layer(features).unsqueeze(1) + self.latent_layer(sample.z)))
        log_q = sample.log_auxiliary + sample.conditional.log_prob(sample.z)
        rest = log_prior(sample.z) - log_q + h.log_prob(sample.auxiliary)
        return self.model.log_likelihood(x, sample.z), rest


class EstimatedBound(Bound):
    """The bound with a posterior without a density: the objective has the bound's gradient, but not its value.

    :param model: The autoencoder.
    :param entropy: The gradient of the entropy.
    """

    kind = "estimated"

    def __init__(self, model: Autoencoder, entropy: EntropyGradient) -> None:
        super().__init__(model)
        self.entropy = entropy

    def objective(self, x: th.Tensor, beta: float = 1.0) -> th.Tensor:
        z, entropy = self.entropy.draw(self.model.features(x))
        log_likelihood = self.model.log_likelihood(x, z.unsqueeze(1)).squeeze(1)
        return (log_likelihood + beta * log_prior(z)).mean() + beta * entropy
