"""The loss of Embed to Control, with optional terms from later papers."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch as th
from torch.func import jvp
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice, check_min, check_positive
from ardae_rl.common.gaussians import kl_to_diagonal, kl_to_standard
from ardae_rl.e2c.transition import TRANSITION_SAMPLES, Linearized, LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, ImageDecoder

CONTRASTIVE_STD = 0.1  # standard deviation of the contrastive term's Gaussians, in the latent space
OUTLIER = -14.0  # floor of the contrastive log-density, relative to the mode of the Gaussian


@dataclass(frozen=True)
class E2CLoss:
    """Settings of the loss: weights of its terms, relative to the reconstruction terms, whose weight is 1.

    Example:

    >>> from ardae_rl.e2c import E2CLoss
    >>> E2CLoss(contrastive_weight=100.0).transition_weight
    0.25

    :param prior_weight: Weight of KL(q(z_t|x_t) || N(0, I)).
    :param transition_weight: λ, the weight of KL(N(Aμ + Bu + o, AΣAᵀ + H) || q(z_{t+1}|x_{t+1})).
    :param consistency_weight: Weight of the squared distance between predicted means and the encoder's, in units of
        the standard deviation of the batch's means, so that shrinking the latent space does not lower the loss (Levine
        et al. 2020 use a divergence instead).
    :param curvature_weight: Weight of the squared error of the transition's linearization at nearby points (Levine et
        al. 2020, Eq. 12).
    :param contrastive_weight: Weight of a contrastive loss: minus the log-probability of identifying the next latent
        of each prediction among those of the batch (the predictive coding of Shu et al. 2020, with Gaussian densities
        that have a floor for outliers). This unfolds a latent space that distinguishes all images but places similar
        ones far from each other.
    :param reward_weight: Weight of the squared error of the predicted reward.
    :param curvature_noise: Standard deviation of the random displacements in the curvature term.
    :param transition_sample: "same" or "resample", see :class:`~ardae_rl.e2c.transition.LocallyLinearTransition`.
    :raises ValueError: If a weight is negative, or another value is not supported.
    """

    prior_weight: float = 1.0
    transition_weight: float = 0.25
    consistency_weight: float = 0.0
    curvature_weight: float = 0.0
    contrastive_weight: float = 0.0
    reward_weight: float = 1.0
    curvature_noise: float = 0.1
    transition_sample: str = "same"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name.endswith("weight"):
                check_min(field.name, getattr(self, field.name), 0)
        check_positive("curvature_noise", self.curvature_noise)
        check_choice("transition_sample", self.transition_sample, TRANSITION_SAMPLES)


@dataclass(frozen=True)
class E2CModel:
    """The networks that the loss trains."""

    encoder: GaussianEncoder
    decoder: ImageDecoder
    transition: LocallyLinearTransition


class Step(NamedTuple):
    """One step t of a latent sequence, propagated through the transition from a sample of the first latent."""

    linearized: Linearized
    next_state: th.Tensor  # sample of z_{t+1}, (batch, d)
    mean: th.Tensor  # of z_{t+1} given the first image, (batch, d)
    covariance: th.Tensor  # of the same Gaussian, (batch, d, d)
    log_determinant: th.Tensor  # of that covariance without process noise, (batch,)


def e2c_loss(
    model: E2CModel, images: th.Tensor, actions: th.Tensor, settings: E2CLoss
) -> tuple[th.Tensor, dict[str, th.Tensor]]:
    """Return the loss, averaged over a batch of sequences, and its terms.

    For one step this is the loss of Watter et al. (2015), Eq. 12. For k steps, the sample of the first latent is
    propagated through the transition, each latent is decoded, and each propagated Gaussian is compared with the
    encoder's Gaussian for the same image; sums over steps are divided by k.

    :param model: Encoder, decoder and transition.
    :param images: (batch, k + 1, channels, height, width) in [0, 1].
    :param actions: (batch, k, action_dim); action t causes image t + 1.
    :param settings: Weights of the terms; ``transition_sample="resample"`` requires k = 1. The reward's term is not
        included.
    :raises ValueError: For sequences of several steps with ``transition_sample="resample"``.
    """
    k = actions.shape[1]
    if settings.transition_sample == "resample" and k > 1:
        raise ValueError(f"`actions` must have one step per sequence with transition_sample='resample', got {k}")
    mean, log_std = (part.unflatten(0, images.shape[:2]) for part in model.encoder(images.flatten(0, 1)))
    z, next_state, linearized = model.transition.transitions(
        mean[:, 0], log_std[:, 0], actions[:, 0], settings.transition_sample
    )
    steps = _propagate(model.transition, mean[:, 0], log_std[:, 0], actions, linearized, next_state)
    sums = _sums_over_steps(model, steps, mean, log_std, images, actions, settings)
    terms = {name: value / k for name, value in sums.items()}
    terms["reconstruction"] = _error(model.decoder(z), images[:, 0])
    terms["kl_prior"] = kl_to_standard(mean[:, 0], log_std[:, 0]).mean()
    return _weighted(terms, settings), {name: value.detach() for name, value in terms.items()}


def _sums_over_steps(
    model: E2CModel,
    steps: Iterator[Step],
    mean: th.Tensor,
    log_std: th.Tensor,
    images: th.Tensor,
    actions: th.Tensor,
    settings: E2CLoss,
) -> dict[str, th.Tensor]:
    """Return the sums over steps of the terms that each step has, given what the encoder infers from all images."""
    transition, spread = model.transition, mean.detach().flatten(0, 1).std(0)
    predicted = mean[:, 0]
    sums: dict[str, th.Tensor] = defaultdict(lambda: mean.new_zeros(()))
    for t, step in enumerate(steps):
        u, target = actions[:, t], (mean[:, t + 1], log_std[:, t + 1])
        if t == 0:
            kl = transition.kl(step.linearized, mean[:, 0], log_std[:, 0], u, *target)
        else:
            log_determinant = None if transition.process_noise else step.log_determinant
            kl = kl_to_diagonal(step.mean, step.covariance, *target, log_determinant)
        sums["kl_transition"] += kl.mean()
        sums["prediction"] += _error(model.decoder(step.next_state), images[:, t + 1])
        if settings.consistency_weight or settings.contrastive_weight:
            predicted = transition(predicted)(predicted, u)
        if settings.consistency_weight:
            sums["consistency"] += ((predicted - mean[:, t + 1]) / spread).square().sum(-1).mean()
        if settings.contrastive_weight:
            sums["contrastive"] += _contrast(predicted, mean[:, t + 1])
        if settings.curvature_weight:
            sums["curvature"] += _curvature(transition, mean[:, t], u, settings.curvature_noise)
    return sums


def _weighted(terms: dict[str, th.Tensor], settings: E2CLoss) -> th.Tensor:
    weights = {
        "kl_prior": settings.prior_weight,
        "kl_transition": settings.transition_weight,
        "consistency": settings.consistency_weight,
        "curvature": settings.curvature_weight,
        "contrastive": settings.contrastive_weight,
    }
    loss = terms["reconstruction"] + terms["prediction"]
    for name, weight in weights.items():
        if weight:
            loss = loss + weight * terms[name]
    return loss


def _propagate(
    transition: LocallyLinearTransition,
    mean: th.Tensor,
    log_std: th.Tensor,
    actions: th.Tensor,
    linearized: Linearized,
    next_state: th.Tensor,
) -> Iterator[Step]:
    """Yield the steps of a sequence, given the first latent's Gaussian and its first transition."""
    covariance, log_determinant = th.diag_embed((2 * log_std).exp()), 2 * log_std.sum(-1)
    for t in range(actions.shape[1]):
        if t > 0:
            linearized = transition(next_state)
            next_state = transition.add_process_noise(linearized(next_state, actions[:, t]))
        mean, covariance = transition.propagate(linearized, mean, covariance, actions[:, t])
        log_determinant = log_determinant + 2 * linearized.log_determinant()
        yield Step(linearized, next_state, mean, covariance, log_determinant)


def _error(logits: th.Tensor, images: th.Tensor) -> th.Tensor:
    """Return -ln p(x|z) of Bernoulli pixels, summed over an image and averaged over the batch."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(images)


def _contrast(predicted: th.Tensor, next_means: th.Tensor) -> th.Tensor:
    """Return minus the mean log-probability of each row's own next latent among all rows; both are (n, d).

    Densities are Gaussian around the prediction, with a floor. Without the floor, a few images that do not reveal
    the state would pull together the latents of all states that precede such images.
    """
    next_means = next_means + CONTRASTIVE_STD * th.randn_like(next_means)
    squares = (predicted.unsqueeze(1) - next_means).square().sum(-1) / CONTRASTIVE_STD**2
    log_density = th.logaddexp(-0.5 * squares, squares.new_tensor(OUTLIER))
    return F.cross_entropy(log_density, th.arange(len(predicted), device=predicted.device))


def _curvature(transition: LocallyLinearTransition, z: th.Tensor, u: th.Tensor, noise: float) -> th.Tensor:
    """Return E |f(z + δ, u + η) - f(z, u) - J (δ, η)|² over random δ and η."""
    z, u = z.detach(), u.detach()
    delta, eta = noise * th.randn_like(z), noise * th.randn_like(u)

    def f(z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return transition(z)(z, u)

    value, slope = jvp(f, (z, u), (delta, eta))[:2]
    return (f(z + delta, u + eta) - value - slope).square().sum(-1).mean()
