"""The training loss of the estimator: the score loss, and the terms that the normalizer adds."""

from dataclasses import dataclass

import torch as th

from ardae_rl.common.checks import check_bool, check_choice, check_count, check_positive
from ardae_rl.common.compiled import normal_like
from ardae_rl.score.losses import ardae_loss, cv_loss, own_noise_loss
from ardae_rl.score.models import ScoreModel, ScoreOutput
from ardae_rl.score.networks import ContextEmbedding
from ardae_rl.score.normalizers import DensitySamples, Normalizer

LOSSES = ("cv", "own_noise", "ardae")
NOISE_DISTRIBUTIONS = ("normal", "fixed")

# Below this |σ|, in units of the samples' scale, division by σ in the control-variate loss amplifies rounding errors
_SMALLEST_NOISE = 0.01


@dataclass(frozen=True)
class NoiseScale:
    """How the noise scale σ of each sample is drawn, and how many noise vectors each sample gets.

    Example:

    >>> import torch
    >>> from ardae_rl.score import NoiseScale
    >>> NoiseScale(scale=0.5, distribution="fixed").sample(torch.zeros(1, 3, 2), unit=2.0).squeeze()
    tensor([1., 1., 1.])

    :param scale: δ, the standard deviation of the signed σ, or σ itself for the "fixed" distribution.
    :param distribution: "normal" (signed, symmetric around zero) or "fixed". An estimator with one fixed noise scale
        is a denoising autoencoder that is not amortized; its scores are those at this noise scale.
    :param relative: Whether δ is relative to the samples' scale. False (δ in units of x) is for the raw network only.
    :param n_samples: Number of noise vectors per sample (n_σ in the paper).
    """

    scale: float = 0.1
    distribution: str = "normal"
    relative: bool = True
    n_samples: int = 1

    def __post_init__(self) -> None:
        check_choice("distribution", self.distribution, NOISE_DISTRIBUTIONS)
        check_positive("scale", self.scale, finite=True)
        check_bool("relative", self.relative)
        check_count("n_samples", self.n_samples)

    def sample(self, z: th.Tensor, unit: float | th.Tensor, min_scale: float = 0.0) -> th.Tensor:
        """Draw σ for samples z of shape (batch, n, dim); the result has shape (batch, n, 1).

        :param unit: The unit of δ: one for all samples, or one for each context, (batch, 1, 1).
        :param min_scale: Lower bound of |σ|, in the same unit.
        """
        if self.distribution == "fixed":
            return self.scale * unit * th.ones_like(z[..., :1])
        sigma = self.scale * unit * normal_like(z[..., :1])
        if min_scale > 0:
            sigma = th.where(sigma < 0, -1.0, 1.0) * sigma.abs().clamp_min(min_scale * unit)
        return sigma


def score_terms(
    model: ScoreModel,
    z: th.Tensor,
    embedding: ContextEmbedding,
    loss: str,
    normalizer: Normalizer,
    noise: NoiseScale,
    unit: float | th.Tensor,
) -> dict[str, th.Tensor]:
    """Return the weighted terms of the training loss, by name.

    :param model: Score model, in standardized coordinates.
    :param z: Samples, (batch, n, dim).
    :param embedding: The model's embedding of the contexts.
    :param loss: "cv", "ardae", or "own_noise", for which the noise must be fixed.
    :param normalizer: Adds its own terms, and sets the weight of the score loss relative to them.
    :param noise: Draws σ.
    :param unit: The unit of the noise scale, see :meth:`NoiseScale.sample`.
    """
    u = normal_like(z)
    sigma = noise.sample(z, unit, _SMALLEST_NOISE if loss == "cv" else 0)
    noisy = z + sigma * u
    clean: ScoreOutput | None = None
    if loss == "cv":
        output, clean = _noisy_and_clean(model, noisy, z, sigma, embedding)
        score_loss = cv_loss(output.score, clean.score, u, sigma)
    else:
        output = model(noisy, sigma, embedding)
        if loss == "own_noise":
            score_loss = own_noise_loss(output.score, noisy, z, sigma[:, :1])
        else:
            score_loss = ardae_loss(output.score, u, sigma)
    # The density is that of the samples, or of the noisy samples if the noise has a fixed scale
    if noise.distribution == "fixed":
        samples = DensitySamples(noisy, sigma[:, :1], output.log_ratio)
    else:
        samples = DensitySamples(z, z.new_zeros(1, 1, 1), None if clean is None else clean.log_ratio)
    terms = {"matching_loss": normalizer.score_weight * (score_loss / z.shape[-1])}
    return terms | normalizer.terms(model, z, embedding, samples)


def _noisy_and_clean(
    model: ScoreModel, noisy: th.Tensor, z: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding
) -> tuple[ScoreOutput, ScoreOutput]:
    """Return the outputs at noisy samples and at z from one call, whose overhead dominates for small networks."""
    both = model(th.cat([noisy, z], dim=1), th.cat([sigma, th.zeros_like(sigma)], dim=1), embedding)
    noisy_score, clean_score = both.score.chunk(2, dim=1)
    noisy_ratio, clean_ratio = (None, None) if both.log_ratio is None else both.log_ratio.chunk(2, dim=1)
    return ScoreOutput(noisy_score, log_ratio=noisy_ratio), ScoreOutput(clean_score, log_ratio=clean_ratio)
