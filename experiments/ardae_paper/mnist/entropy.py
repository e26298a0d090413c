"""Gradients of a posterior's entropy: from a score estimator (AR-DAE), or from a classifier (AVB)."""

from abc import ABC, abstractmethod
from typing import Any

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.sac_ardae.whitening import AffineFrame
from ardae_rl.score import ARDAE, contrastive_loss, entropy_surrogate
from ardae_rl.score.networks import ScalarNetwork
from ardae_rl.score.standardize import ContextNormalizer
from experiments.ardae_paper.mnist.posteriors import ImplicitPosterior, Posterior

FRAMES = ("moments", "diagonal", "center")


class EntropyGradient(nn.Module, ABC):
    """Draws a latent per image, with a scalar that has the gradient of the posterior's entropy.

    The score's estimator is updated first, on latents of the same posteriors. It sees them in a frame set by the
    posterior: "moments" (mean zero, covariance I), "diagonal" (mean zero, variances one) or "center" (relative to
    g(0, x), which only an implicit posterior has).

    :param posterior: The posterior.
    :param frame: Name of the frame.
    :param n_latents: Number of latents per image in an update.
    :param n_updates: Number of updates for each update of the posterior, the paper's N_d.
    :param n_images: Number of images, the first of the batch, on which the entropy's gradient is estimated and the
        estimator updated; None for all. The gradient's mean does not depend on it.
    """

    optimizer: th.optim.Optimizer  # of the estimator

    def __init__(
        self, posterior: Posterior, frame: str, n_latents: int, n_updates: int = 1, n_images: int | None = None
    ) -> None:
        super().__init__()
        check_choice("frame", frame, FRAMES)
        check_count("n_latents", n_latents)
        check_count("n_updates", n_updates)
        self._posterior = [posterior]  # in a list, so that it is not a submodule
        self.frame, self.n_latents, self.n_updates, self.n_images = frame, n_latents, n_updates, n_images

    def draw(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Update the estimator; return latents (batch, dim) and a scalar with the gradient of the mean entropy.

        :param features: Features of images, (batch, n_features), attached to the graph.
        """
        posterior = self._posterior[0]
        n = min(self.n_images or len(features), len(features))
        with th.no_grad():
            context = features.detach()[:n]
            # The output noise needs the frames of all images
            frame = self.make_frame(features.detach() if posterior.output_noise else context)
            first = frame.select(slice(n))
            for _ in range(self.n_updates):
                samples = first.to_local(posterior.generate(context, self.n_latents))
                with th.enable_grad():
                    self.update(samples, context)
        z = posterior.add_noise(posterior.generate(features, 1), frame)
        score = first.score_from_local(self.local_score(first.to_local(z[:n].detach()), context))
        return z.squeeze(1), entropy_surrogate(z[:n], score)

    def score(self, z: th.Tensor, features: th.Tensor) -> th.Tensor:
        """Return ∇ ln q(z|x) at latents (batch, n, dim)."""
        frame = self.make_frame(features)
        return frame.score_from_local(self.local_score(frame.to_local(z), features))

    @th.no_grad()
    def make_frame(self, features: th.Tensor) -> AffineFrame:
        """Return the frame for images with these features."""
        posterior = self._posterior[0]
        if self.frame == "center":
            if not isinstance(posterior, ImplicitPosterior):
                raise ValueError(
                    "`frame` must be 'moments' or 'diagonal' for a posterior without a center, got 'center'"
                )
            return AffineFrame(posterior.center(features).unsqueeze(1))
        frame = posterior.frame(features)
        if self.frame == "diagonal" and frame.factor is not None:
            return AffineFrame(frame.origin, th.diag_embed(frame.factor.square().sum(-1).sqrt()))
        return frame

    @abstractmethod
    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        """Take one gradient step on latents (batch, n, dim) in the frame."""

    @abstractmethod
    def local_score(self, z: th.Tensor, context: th.Tensor) -> th.Tensor:
        """Return the estimated score of latents in the frame, (batch, n, dim)."""


class ScoreEntropy(EntropyGradient):
    """The gradient by AR-DAE.

    :param posterior: The posterior.
    :param n_features: Number of features.
    :param estimator: Arguments of :class:`~ardae_rl.score.ARDAE`; ``{"paper": True}`` among them selects the paper's
        form.
    :param kwargs: Arguments of :class:`EntropyGradient`.
    """

    def __init__(self, posterior: Posterior, n_features: int, estimator: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(posterior, **kwargs)
        arguments: dict[str, Any] = {"normalization": None} | estimator
        make = ARDAE.paper if arguments.pop("paper", False) else ARDAE
        self.estimator = make(posterior.dim, n_features, **arguments)
        self.optimizer = self.estimator.optimizer

    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        self.estimator.step(samples, context)

    def local_score(self, z: th.Tensor, context: th.Tensor) -> th.Tensor:
        return self.estimator.score(z, context)


class ClassifierEntropy(EntropyGradient):
    """The gradient by adversarial variational Bayes with adaptive contrast (Mescheder, Nowozin and Geiger 2017).

    A classifier T(z, x) discriminates latents in the frame from samples of N(0, I). At its optimum T = ln q - ln N, so
    the score is ∇T - z. Mean and deviation of the adaptive contrast are those of the frame.

    :param posterior: The posterior.
    :param n_features: Number of features.
    :param classifier: Arguments of :class:`~ardae_rl.score.networks.ScalarNetwork`.
    :param learning_rate: Learning rate of Adam.
    :param kwargs: Arguments of :class:`EntropyGradient`.
    """

    def __init__(
        self,
        posterior: Posterior,
        n_features: int,
        classifier: dict[str, Any],
        learning_rate: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior, **kwargs)
        self.network = ScalarNetwork(posterior.dim, n_features, n_out=1, **classifier)
        self.normalizer = ContextNormalizer(n_features)
        self.optimizer = th.optim.Adam(self.network.parameters(), lr=learning_rate, betas=(0.5, 0.999), fused=True)

    def update(self, samples: th.Tensor, context: th.Tensor) -> None:
        with th.no_grad():
            self.normalizer.update(context)
        embedding = self.network.encode(self.normalizer(context))
        points = th.cat([samples, th.randn_like(samples)], dim=1)
        ratio = self.network(points, points.new_zeros(1, 1, 1), embedding).squeeze(-1)
        loss = contrastive_loss(*ratio.chunk(2, dim=1))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @th.no_grad()
    def local_score(self, z: th.Tensor, context: th.Tensor) -> th.Tensor:
        embedding = self.network.encode(self.normalizer(context))
        return self.network.with_gradients(z, z.new_zeros(1, 1, 1), embedding).point - z
