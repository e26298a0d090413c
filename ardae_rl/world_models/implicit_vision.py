"""The vision model with an implicit posterior, trained with AR-DAE."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.score import ARDAE, entropy_surrogate
from ardae_rl.world_models.vision import ConvVAE, VisionLoss, as_images

_HIDDEN = 256
# The estimator must track an encoder that trains on its score: it learns faster than the encoder, with a short average
_N_SCORE_UPDATES, _SCORE_RATE, _SCORE_AVERAGING = 2, 3e-3, 5
_N_MOMENTS = 32  # samples from which a posterior's moments are estimated


class ImplicitConvVAE(ConvVAE):
    """A :class:`~ardae_rl.world_models.vision.ConvVAE` with an implicit posterior: z = g(ε, frame), ε ~ N(0, I).

    The gradient of the entropy in the evidence lower bound comes from a score estimator, as in Lim et al. (2020),
    Section 6.2 and Algorithm 1. The estimator is part of the module, and is updated whenever the loss is evaluated with
    gradients.

    ``encode`` returns the moments of this posterior over a fixed set of ε. The memory is trained on samples of the
    Gaussian with these moments.

    :param z_dim: Dimension of the latent.
    :param width: Number of channels of the first layer.
    :param noise_dim: Dimension of ε.
    :param n_latents: Number of latents per frame in each update of the estimator.
    :raises ValueError: For a number below 1.
    """

    _noise: th.Tensor

    def __init__(self, z_dim: int = 32, width: int = 32, noise_dim: int = 32, n_latents: int = 8) -> None:
        super().__init__(z_dim, width, free_nats=0.0)
        for name, value in {"noise_dim": noise_dim, "n_latents": n_latents}.items():
            check_count(name, value)
        self.n_latents = n_latents
        self.sampler = _Sampler(self.posterior.in_features, z_dim, noise_dim)
        del self.posterior
        self.estimator = ARDAE(
            z_dim,
            _HIDDEN,
            parameterization="score",
            normalization=None,
            learning_rate=_SCORE_RATE,
            averaging=_SCORE_AVERAGING,
        )
        half = th.randn(_N_MOMENTS // 2, noise_dim, generator=th.Generator().manual_seed(0))
        self.register_buffer("_noise", th.cat([half, -half]))

    @property
    def optimizers(self) -> dict[str, th.optim.Optimizer]:
        return {"estimator_optimizer": self.estimator.optimizer}

    def draw(self, frames: th.Tensor) -> th.Tensor:
        embedding = self.sampler.embed(self.encoder(as_images(frames)))
        return self.sampler(embedding, self.sampler.noise(embedding, 1)).squeeze(1)

    def loss(self, frames: th.Tensor) -> VisionLoss:
        """Return Σ squared errors - ln p(z) - H[q] up to constants, with fresh noise.

        The value of the entropy H is unknown and counts as 0; the gradient includes it.
        """
        images = as_images(frames)
        embedding = self.sampler.embed(self.encoder(images))
        center = self.sampler.center(embedding).detach()
        if th.is_grad_enabled():
            with th.no_grad():
                others = self.sampler(embedding, self.sampler.noise(embedding, self.n_latents))
            for _ in range(_N_SCORE_UPDATES):
                self.estimator.step(others - center.unsqueeze(1), embedding)
        z = self.sampler(embedding, self.sampler.noise(embedding, 1)).squeeze(1)
        errors = (self.decode(z) - images).square().flatten(1).sum(1)
        score = self.estimator.score(z.detach() - center, embedding.detach())
        loss = (errors + 0.5 * z.square().sum(1)).mean() - entropy_surrogate(z, score)
        kl = self.divergence(*_moments(self.sampler(embedding.detach(), self._noise.expand(len(embedding), -1, -1))))
        return VisionLoss(loss, errors.mean().detach(), kl.mean(0).detach())

    def _encode(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        embedding = self.sampler.embed(self.encoder(images))
        return _moments(self.sampler(embedding, self._noise.expand(len(embedding), -1, -1)))


class _Sampler(nn.Module):
    """The function g(ε, frame), on the features of the frame."""

    def __init__(self, in_features: int, z_dim: int, noise_dim: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.frame_layer = nn.Linear(in_features, _HIDDEN)
        self.noise_layer = nn.Linear(noise_dim, _HIDDEN, bias=False)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, z_dim))

    def embed(self, features: th.Tensor) -> th.Tensor:
        """Return the embeddings of frames, (n, hidden), on which g and the estimator are conditioned."""
        return self.frame_layer(features)

    def noise(self, embedding: th.Tensor, k: int) -> th.Tensor:
        """Draw ε, (n, k, noise_dim)."""
        return th.randn(len(embedding), k, self.noise_dim, device=embedding.device)

    def forward(self, embedding: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """Return latents (n, k, z_dim) for ε (n, k, noise_dim)."""
        return self.layers(embedding.unsqueeze(1) + self.noise_layer(noise))

    def center(self, embedding: th.Tensor) -> th.Tensor:
        """Return g(0, frame), (n, z_dim), relative to which the estimator models latents."""
        return self.layers(embedding)


def _moments(z: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return means and log standard deviations, (n, z_dim) each, over samples (n, k, z_dim)."""
    return z.mean(1), z.std(1).clamp_min(1e-6).log()
