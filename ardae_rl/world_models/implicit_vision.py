"""The vision model with an implicit posterior, trained by AR-DAE."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_positive
from ardae_rl.score import ARDAE, entropy_surrogate
from ardae_rl.world_models.vision import ConvVAE, VisionLoss, as_images

_HIDDEN = 256
# The estimator has to follow an encoder that it steers: faster than that learns, and without a long average
_N_SCORE_UPDATES, _SCORE_RATE, _SCORE_AVERAGING = 2, 3e-3, 5
_N_MOMENTS = 32  # draws that a posterior's moments are taken from


class ImplicitConvVAE(ConvVAE):
    """A :class:`~ardae_rl.world_models.vision.ConvVAE` whose posterior is a sampler: z = g(ε, frame), ε ~ N(0, I).

    The entropy's gradient in the evidence lower bound comes from a score estimator, as in Lim et al. (2020), Section
    6.2 and Algorithm 1; it is part of the module, and makes a step whenever the loss is evaluated with gradients.

    Of this posterior, ``encode`` gives the moments, over a set of ε that never changes, and the memory is trained on
    draws of the Gaussian that has them.

    :param z_dim: dimension of the latent
    :param width: channels of the first layer
    :param noise_dim: dimension of ε
    :param n_latents: of each frame, in a step of the estimator
    """

    _noise: th.Tensor

    def __init__(self, z_dim: int = 32, width: int = 32, noise_dim: int = 32, n_latents: int = 8) -> None:
        super().__init__(z_dim, width, free_nats=0.0)
        for name, value in {"noise_dim": noise_dim, "n_latents": n_latents}.items():
            check_positive(name, value)
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
        code = self.sampler.code(self.encoder(as_images(frames)))
        return self.sampler(code, self.sampler.noise(code, 1)).squeeze(1)

    def loss(self, frames: th.Tensor) -> VisionLoss:
        """Σ squared errors - ln p(z) - the posterior's entropy, whose value is left out; with fresh noise."""
        images = as_images(frames)
        code = self.sampler.code(self.encoder(images))
        centre = self.sampler.centre(code).detach()
        if th.is_grad_enabled():
            with th.no_grad():
                others = self.sampler(code, self.sampler.noise(code, self.n_latents))
            for _ in range(_N_SCORE_UPDATES):
                self.estimator.step(others - centre.unsqueeze(1), code)
        z = self.sampler(code, self.sampler.noise(code, 1)).squeeze(1)
        errors = (self.decode(z) - images).square().flatten(1).sum(1)
        score = self.estimator.score(z.detach() - centre, code.detach())
        loss = (errors + 0.5 * z.square().sum(1)).mean() - entropy_surrogate(z, score)
        kl = self.divergence(*_moments(self.sampler(code.detach(), self._noise.expand(len(code), -1, -1))))
        return VisionLoss(loss, errors.mean().detach(), kl.mean(0).detach())

    def _encode(self, images: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        code = self.sampler.code(self.encoder(images))
        return _moments(self.sampler(code, self._noise.expand(len(code), -1, -1)))


class _Sampler(nn.Module):
    """g(ε, frame) from what the convolutions make of the frame."""

    def __init__(self, in_features: int, z_dim: int, noise_dim: int) -> None:
        super().__init__()
        self.noise_dim = noise_dim
        self.frame_layer = nn.Linear(in_features, _HIDDEN)
        self.noise_layer = nn.Linear(noise_dim, _HIDDEN, bias=False)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, z_dim))

    def code(self, features: th.Tensor) -> th.Tensor:
        """What g and the estimator know of the frame, (n, hidden)."""
        code: th.Tensor = self.frame_layer(features)
        return code

    def noise(self, code: th.Tensor, k: int) -> th.Tensor:
        """Fresh ε, (n, k, noise_dim)."""
        return th.randn(len(code), k, self.noise_dim, device=code.device)

    def forward(self, code: th.Tensor, noise: th.Tensor) -> th.Tensor:
        """Latents (n, k, z_dim) of ε (n, k, noise_dim)."""
        z: th.Tensor = self.layers(code.unsqueeze(1) + self.noise_layer(noise))
        return z

    def centre(self, code: th.Tensor) -> th.Tensor:
        """g(0, frame), which the estimator sees latents from: (n, z_dim)."""
        z: th.Tensor = self.layers(code)
        return z


def _moments(z: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Mean and ln standard deviation over draws (n, k, z_dim), (n, z_dim) each."""
    return z.mean(1), z.std(1).clamp_min(1e-6).log()
