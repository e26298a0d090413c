"""Ways to normalize the density of an estimator: what each adds to the training loss, and how it answers queries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, cast

import torch as th

from ardae_rl.common.checks import check_choice, check_count, check_keys, check_positive
from ardae_rl.common.compiled import normal_like
from ardae_rl.score.integrals import IMMSE_NOISE_RANGE, immse_log_prob, importance_log_partition
from ardae_rl.score.losses import ardae_loss, contrastive_loss, noise_level_loss
from ardae_rl.score.models import PreconditionedEnergy, ScoreModel, ScoreOutput
from ardae_rl.score.networks import ContextEmbedding

_DUAL_NOISE_RANGE = (0.01, 4.0)


class DensitySamples(NamedTuple):
    """Samples of the distribution whose density is asked for, with what the score loss has computed at them."""

    points: th.Tensor  # (batch, n, dim)
    sigma: th.Tensor  # scale of the noise that they include, (1, 1, 1): 0 unless the training noise has one scale
    log_ratio: th.Tensor | None  # of the model's density to a Gaussian, (batch, n), if it is known already


class Normalizer(ABC):
    """A way to turn a learned score or unnormalized energy into a normalized density.

    A normalizer sees points in the estimator's standardized coordinates. To write one, implement :meth:`log_prob` (and
    :meth:`terms` if it needs training) in a subclass. An object of it is passed as the estimator's ``normalization``;
    to give it a name, add the class to ``NORMALIZERS``.

    Example:

    >>> from ardae_rl.score import ARDAE
    >>> normalizer = ARDAE(dim=2).normalizer
    >>> normalizer.name, normalizer.density_is_free
    ('contrastive', True)
    """

    name: ClassVar[str | None]
    needs_energy: ClassVar[bool] = True
    """Whether the network must be an energy, whose gradient is the score, rather than the score itself."""
    needs_preconditioning: ClassVar[bool] = True
    density_is_free: ClassVar[bool] = False
    """Whether the log-density costs nothing once the score has been computed."""
    score_weight: float = 1.0
    """Weight of the score loss beside the terms of this normalizer."""

    def terms(
        self, model: ScoreModel, z: th.Tensor, embedding: ContextEmbedding, samples: DensitySamples
    ) -> dict[str, th.Tensor]:
        """Return what the normalizer adds to the training loss, as named scalars.

        :param model: The score model that is trained.
        :param z: Standardized samples without noise, (batch, n, dim).
        :param embedding: The model's embedding of the contexts.
        :param samples: Samples whose density is asked for: ``z``, or with the training noise if its scale is fixed.
        """
        return {}

    @abstractmethod
    def log_prob(
        self,
        model: ScoreModel,
        z: th.Tensor,
        sigma: th.Tensor,
        embedding: ContextEmbedding,
        log_density: th.Tensor | None = None,
    ) -> th.Tensor:
        """Return the normalized log-density in standardized coordinates, (batch, n).

        :param z: Standardized points, (batch, n, dim).
        :param sigma: Noise scale of the query, broadcasting against (batch, n, 1).
        :param log_density: The model's unnormalized log-density at ``z``, (batch, n), if it is known already.
        """


@dataclass(frozen=True)
class Unnormalized(Normalizer):
    """No normalization: the estimator gives scores only."""

    name = None
    needs_energy = False
    needs_preconditioning = False

    def log_prob(self, model: ScoreModel, z: th.Tensor, *args: Any, **kwargs: Any) -> th.Tensor:
        raise ValueError(
            f"`normalization` must be one of {', '.join(map(repr, NORMALIZERS))} to give a density, got None"
        )


@dataclass(frozen=True)
class Contrastive(Normalizer):
    """The energy learns its constant by telling samples from draws of a Gaussian (noise-contrastive estimation).

    Reference: Gutmann and Hyvärinen (2010).

    Example:

    >>> from ardae_rl.score import ARDAE, Contrastive
    >>> estimator = ARDAE(dim=2, normalization=Contrastive(score_weight=0.01))

    :param score_weight: Weight of the score loss beside the contrastive loss. Larger values add variance to the
        density, especially for narrow modes.
    """

    name = "contrastive"
    density_is_free = True
    score_weight: float = 0.1

    def __post_init__(self) -> None:
        check_positive("score_weight", self.score_weight, finite=True)

    def terms(
        self, model: ScoreModel, z: th.Tensor, embedding: ContextEmbedding, samples: DensitySamples
    ) -> dict[str, th.Tensor]:
        # The reference is the Gaussian that a preconditioned energy is relative to
        points, sigma, log_ratio = samples
        energy = cast(PreconditionedEnergy, model)
        if log_ratio is None:
            log_ratio = energy.log_ratio(points, sigma, embedding)
        reference = (1 + sigma.square()).sqrt() * normal_like(points)
        loss = contrastive_loss(log_ratio, energy.log_ratio(reference, sigma, embedding))
        return {"contrastive_loss": loss}

    def log_prob(
        self,
        model: ScoreModel,
        z: th.Tensor,
        sigma: th.Tensor,
        embedding: ContextEmbedding,
        log_density: th.Tensor | None = None,
    ) -> th.Tensor:
        return model.log_density(z, sigma, embedding) if log_density is None else log_density


@dataclass(frozen=True)
class Dual(Contrastive):
    """The derivative with respect to the noise level is learned beside the score, which fixes the energy's constant.

    At infinite noise the density is a known Gaussian; the derivative carries its normalization down to no noise
    (Choi et al. 2022; Guth, Kadkhodaie and Simoncelli 2025).

    Example:

    >>> from ardae_rl.score import ARDAE, Dual
    >>> estimator = ARDAE(dim=2, normalization=Dual())

    :param score_weight: Weight of the score loss beside the other terms.
    """

    name = "dual"

    def terms(
        self, model: ScoreModel, z: th.Tensor, embedding: ContextEmbedding, samples: DensitySamples
    ) -> dict[str, th.Tensor]:
        u, output, loss = _broad_noise(model, z, embedding, _DUAL_NOISE_RANGE, with_noise_level=True)
        derivative = cast(th.Tensor, output.noise_level_derivative)
        return {"broad_noise_loss": loss, "noise_level_loss": noise_level_loss(derivative, u)}


@dataclass(frozen=True)
class Importance(Normalizer):
    """ln Z is estimated by importance sampling at each query, the paper's way.

    Reference: Lim et al. (2020), App. G.2, https://arxiv.org/abs/2006.05164.

    Example:

    >>> from ardae_rl.score import ARDAE, Importance
    >>> estimator = ARDAE(dim=2, normalization=Importance(n_samples=200))

    :param n_samples: Number of draws from the proposal for each context.
    :param proposal_scale: Standard deviation of the Gaussian proposal, in units of the samples' scale for a
        preconditioned estimator, else in units of x.
    """

    name = "importance"
    needs_preconditioning = False
    n_samples: int = 100
    proposal_scale: float = 1.0

    def __post_init__(self) -> None:
        check_count("n_samples", self.n_samples)
        check_positive("proposal_scale", self.proposal_scale, finite=True)

    def log_prob(
        self,
        model: ScoreModel,
        z: th.Tensor,
        sigma: th.Tensor,
        embedding: ContextEmbedding,
        log_density: th.Tensor | None = None,
    ) -> th.Tensor:
        if log_density is None:
            log_density = model.log_density(z, sigma, embedding)
        log_z, _ = self.log_partition(model, z, sigma, embedding)
        return log_density - log_z.unsqueeze(-1)

    def log_partition(
        self, model: ScoreModel, like: th.Tensor, sigma: th.Tensor, embedding: ContextEmbedding
    ) -> tuple[th.Tensor, th.Tensor]:
        """Return ln Z = ln ∫ exp(-E) in standardized coordinates, and the draws' effective sample size; each (batch,).

        :param like: A tensor (batch, n, dim) that gives batch size, dimension, device and dtype.
        """
        shape = (len(like), self.n_samples, like.shape[-1])
        scale = self.proposal_scale * model.input_scale
        return importance_log_partition(lambda z: model.log_density(z, sigma, embedding), shape, scale, like)


@dataclass(frozen=True)
class IMMSE(Normalizer):
    """The log-density is an integral of denoising errors over all noise levels, which are learned beside the score.

    It needs no energy: the network may be the score itself. A query costs ``2 n_levels n_samples`` passes through the
    network (the pointwise I-MMSE relation, Kong et al. 2023).

    Example:

    >>> from ardae_rl.score import ARDAE, IMMSE
    >>> estimator = ARDAE(dim=2, parameterization="score", normalization=IMMSE())

    :param score_weight: Weight of the score loss beside the loss at all noise levels.
    :param n_levels: Number of noise levels of the integral.
    :param n_samples: Number of antithetic pairs of noise vectors at each level.
    """

    name = "immse"
    needs_energy = False
    score_weight: float = 0.1
    n_levels: int = 32
    n_samples: int = 4

    def __post_init__(self) -> None:
        check_positive("score_weight", self.score_weight, finite=True)
        check_count("n_levels", self.n_levels, 2)
        check_count("n_samples", self.n_samples)

    def terms(
        self, model: ScoreModel, z: th.Tensor, embedding: ContextEmbedding, samples: DensitySamples
    ) -> dict[str, th.Tensor]:
        return {"broad_noise_loss": _broad_noise(model, z, embedding, IMMSE_NOISE_RANGE, with_noise_level=False)[2]}

    def log_prob(
        self,
        model: ScoreModel,
        z: th.Tensor,
        sigma: th.Tensor,
        embedding: ContextEmbedding,
        log_density: th.Tensor | None = None,
    ) -> th.Tensor:
        return immse_log_prob(lambda y, s: model(y, s, embedding).score, z, self.n_levels, self.n_samples)


NORMALIZERS: dict[str, type[Normalizer]] = {
    "contrastive": Contrastive,
    "dual": Dual,
    "importance": Importance,
    "immse": IMMSE,
}


def make_normalizer(
    normalization: str | Normalizer | None,
    normalization_kwargs: Mapping[str, Any] | None,
    parameterization: str,
    preconditioned: bool,
) -> Normalizer:
    """Return the normalizer of this name, or the one given, if the estimator's form supports it.

    :param normalization: A name from ``NORMALIZERS``, "auto", an object, or None for scores only.
    :param normalization_kwargs: Arguments of the named class.
    :param parameterization: "energy" or "score".
    :param preconditioned: Whether the model is preconditioned.
    :raises ValueError: For an unknown name or key, and for a normalizer that the form does not support.
    :raises TypeError: If it is something else.
    """
    if normalization == "auto":
        named = {True: "contrastive", False: "importance"}
        normalization = named[preconditioned] if parameterization == "energy" else None
    if normalization is not None and not isinstance(normalization, str | Normalizer):
        raise TypeError(f"`normalization` must be a name, a Normalizer object or None, got {normalization!r}")
    if isinstance(normalization, str):
        check_choice("normalization", normalization, ("auto", *NORMALIZERS))
        normalizer_class = NORMALIZERS[normalization]
    else:
        normalizer_class = type(normalization) if isinstance(normalization, Normalizer) else Unnormalized
    supported = [name for name, kind in NORMALIZERS.items() if _supports(kind, parameterization, preconditioned)]
    if not _supports(normalizer_class, parameterization, preconditioned):
        raise ValueError(
            f"`normalization` with parameterization={parameterization!r} and preconditioned={preconditioned!r} must be "
            f"one of {', '.join([*map(repr, supported), 'None'])}, got {normalizer_class.name!r}"
        )
    keywords = normalization_kwargs or {}
    if isinstance(normalization, Normalizer):
        check_keys("normalization_kwargs", keywords, ())
        return normalization
    check_keys("normalization_kwargs", keywords, [field.name for field in fields(normalizer_class)])  # type: ignore[arg-type]
    return normalizer_class(**keywords)


def _supports(normalizer: type[Normalizer], parameterization: str, preconditioned: bool) -> bool:
    has_energy = parameterization == "energy" or not normalizer.needs_energy
    return has_energy and (preconditioned or not normalizer.needs_preconditioning)


def _broad_noise(
    model: ScoreModel,
    z: th.Tensor,
    embedding: ContextEmbedding,
    noise_range: tuple[float, float],
    with_noise_level: bool,
) -> tuple[th.Tensor, ScoreOutput, th.Tensor]:
    """Return noise, the model's output at the noisy samples, and the score loss, for log-uniform noise scales."""
    low, high = noise_range
    sigma = th.exp(math.log(low) + math.log(high / low) * th.rand_like(z[..., :1]))
    u = normal_like(z)
    output = model(z + sigma * u, sigma, embedding, with_noise_level)
    return u, output, 0.5 * ardae_loss(output.score, u, sigma) / z.shape[-1]
