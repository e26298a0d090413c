"""What one update of the estimator minimises: the score loss, and what normalises the density beside it."""

import math
from dataclasses import dataclass

import torch as th

from ardae_rl.common.compiled import normal_like
from ardae_rl.common.gaussians import standard_normal_log_density
from ardae_rl.score.log_partition import IMMSE_NOISE_RANGE
from ardae_rl.score.losses import ardae_loss, contrastive_loss, cv_loss, noise_level_loss
from ardae_rl.score.models import Energy, EnergyModel, PreconditionedEnergy
from ardae_rl.score.networks import ContextCode

# |σ| below this, in units of the samples' scale, is rounding error divided by σ in the control-variate loss
_SMALLEST_NOISE = 0.01
_DUAL_NOISE_RANGE = (0.01, 4.0)


NOISE_DISTRIBUTIONS = ("normal", "fixed")


@dataclass(frozen=True)
class NoiseScale:
    """How the noise scale σ of each sample is drawn.

    :param scale: δ, the standard deviation of σ, or σ itself
    :param distribution: "normal" (signed, symmetric around zero) or "fixed"
    :param unit: what δ counts in; None for each context's sample deviation (Lim et al., App. F)
    """

    scale: float
    distribution: str = "normal"
    unit: float | None = 1.0

    def sample(self, z: th.Tensor, least: float = 0.0) -> th.Tensor:
        """σ for samples (batch, n, dim), |σ| at least ``least`` units; (batch, n, 1)."""
        unit = z.std(dim=1, keepdim=True).mean(-1, keepdim=True) if self.unit is None else self.unit
        if self.distribution == "fixed":
            return self.scale * unit * th.ones_like(z[..., :1])
        sigma = self.scale * unit * normal_like(z[..., :1])
        if least > 0:
            sigma = th.where(sigma < 0, -1.0, 1.0) * sigma.abs().clamp_min(least * unit)
        return sigma


def score_terms(
    model: EnergyModel,
    z: th.Tensor,
    code: ContextCode,
    loss: str,
    log_partition: str | None,
    noise_scale: NoiseScale,
    score_weight: float,
) -> dict[str, th.Tensor]:
    """The terms of the objective, already weighted, by name.

    :param model: energy or vector field, in standardised coordinates
    :param z: samples, (batch, n, dim)
    :param code: the model's code of the context
    :param loss: "cv" or "ardae"
    :param log_partition: "contrastive", "dual", "immse", "importance" or None
    :param noise_scale: draws σ
    :param score_weight: of the score loss, where there is a normalising one beside it
    """
    u = normal_like(z)
    sigma = noise_scale.sample(z, _SMALLEST_NOISE if loss == "cv" else 0)
    clean: Energy | None = None
    if loss == "cv":
        noisy_score, clean = _noisy_and_clean(model, z, sigma * u, sigma, code)
        score_loss = cv_loss(noisy_score, clean.score, u, sigma)
    else:
        score_loss = ardae_loss(model(z + sigma * u, sigma, code).score, u, sigma)
    score_loss = score_loss / z.shape[-1]
    if log_partition in (None, "importance"):
        return {"matching_loss": score_loss}
    terms = {"matching_loss": score_weight * score_loss}
    if log_partition == "contrastive":
        assert isinstance(model, PreconditionedEnergy)
        terms["contrastive_loss"] = _contrastive_term(model, z, code, clean)
    else:
        terms |= _broad_noise_terms(model, z, code, with_noise_level=log_partition == "dual")
    return terms


def _noisy_and_clean(
    model: EnergyModel, z: th.Tensor, noise: th.Tensor, sigma: th.Tensor, code: ContextCode
) -> tuple[th.Tensor, Energy]:
    """The score at z + noise, and all there is at z, from one call: small networks cost by the call."""
    both = model(th.cat([z + noise, z], dim=1), th.cat([sigma, th.zeros_like(sigma)], dim=1), code)
    noisy_score, clean_score = both.score.chunk(2, dim=1)
    return noisy_score, Energy(clean_score, None if both.log_density is None else both.log_density[:, z.shape[1] :])


def _contrastive_term(model: PreconditionedEnergy, z: th.Tensor, code: ContextCode, clean: Energy | None) -> th.Tensor:
    """Samples against the standard normal, at σ = 0."""
    no_noise = z.new_zeros(1, 1, 1)
    reference = normal_like(z)
    at_samples = clean.log_density if clean is not None else model.log_density(z, no_noise, code)
    assert at_samples is not None
    return contrastive_loss(
        at_samples - standard_normal_log_density(z),
        model.log_density(reference, no_noise, code) - standard_normal_log_density(reference),
    )


def _broad_noise_terms(
    model: EnergyModel, z: th.Tensor, code: ContextCode, with_noise_level: bool
) -> dict[str, th.Tensor]:
    """Score matching, and matching of the noise-level derivative, with log-uniform noise scales."""
    low, high = _DUAL_NOISE_RANGE if with_noise_level else IMMSE_NOISE_RANGE
    sigma = th.exp(math.log(low) + math.log(high / low) * th.rand_like(z[..., :1]))
    u = normal_like(z)
    # A field has no noise level, and is not asked for it
    energy = model(z + sigma * u, sigma, code, True) if with_noise_level else model(z + sigma * u, sigma, code)
    terms = {"broad_noise_loss": 0.5 * ardae_loss(energy.score, u, sigma) / z.shape[-1]}
    if with_noise_level:
        assert energy.noise_level is not None
        terms["noise_level_loss"] = noise_level_loss(energy.noise_level, u)
    return terms
