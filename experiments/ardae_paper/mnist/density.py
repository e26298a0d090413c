"""The density of a posterior that has none in closed form, for an estimate of the evidence lower bound."""

from typing import Any

import torch as th

from ardae_rl.score import ARDAE
from experiments.ardae_paper.mnist.autoencoder import Autoencoder
from experiments.ardae_paper.mnist.data import batches
from experiments.ardae_paper.mnist.evaluation import decode_in_chunks

_NETWORK: dict[str, Any] = {"hidden": [128, 128], "context_hidden": []}


class PosteriorDensity:
    """ln q(z|x) of a trained posterior, by noise-contrastive estimation against the Gaussian with its moments.

    If the density is learned incompletely, it is too close to the Gaussian of the moments; entropy and bound are then
    too high, at most as high as with that Gaussian. On images it was not trained on, the error can have either sign.

    :param model: The autoencoder, which is not changed.
    :param images: Training images, gray or binary.
    :param n_updates: Number of updates.
    :param n_latents: Number of latents per image in an update.
    """

    def __init__(self, model: Autoencoder, images: th.Tensor, n_updates: int, n_latents: int = 4) -> None:
        self.model = model
        n_features = model.features(images[:2]).shape[1]
        self.estimator = ARDAE(
            model.posterior.dim, n_features, standardize=False, learning_rate=1e-3, network_kwargs=_NETWORK
        ).to(images.device)
        schedule = th.optim.lr_scheduler.LinearLR(self.estimator.optimizer, 1.0, 0.05, n_updates)
        stream = batches(images, min(128, len(images)), seed=0)
        for _ in range(n_updates):
            with th.no_grad():
                features = model.features(next(stream))
                samples = model.posterior.frame(features).to_local(model.posterior.sample(features, n_latents))
            self.estimator.step(samples, features)
            schedule.step()

    @th.no_grad()
    def bound(self, x: th.Tensor, n: int) -> th.Tensor:
        """Return the estimated evidence lower bound of images, (batch,), from ``n`` latents each."""
        features = self.model.features(x)
        z = self.model.posterior.sample(features, n)
        frame = self.model.posterior.frame(features)
        log_q = self.estimator.log_prob(frame.to_local(z), features) - frame.log_det()
        return (decode_in_chunks(self.model, x, z) - log_q).mean(1)
