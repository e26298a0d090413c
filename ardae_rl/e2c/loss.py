"""What Embed to Control minimises, and the terms that its successors have added."""

from collections import defaultdict
from dataclasses import dataclass, fields

import torch as th
from torch.func import jvp
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice
from ardae_rl.common.gaussians import kl_to_diagonal, kl_to_standard
from ardae_rl.e2c.transition import TRANSITION_SAMPLES, LocallyLinearTransition
from ardae_rl.latent.networks import GaussianEncoder, PictureDecoder

CONTRASTIVE_STD = 0.1  # of latents
OUTLIER = -14.0  # ln density, relative to the Gaussian's middle, of a successor that nothing foretells


@dataclass(frozen=True)
class E2CWeights:
    """Of the terms beside the reconstructions, whose weight is 1.

    :param prior: KL(q(z_t|x_t) || N(0, I))
    :param transition: λ, KL(N(Aμ + Bu + o, AΣAᵀ + H) || q(z_{t+1}|x_{t+1}))
    :param consistency: squared distance of pushed means to those that the encoder gives, in units of the spread of the
        batch's means, so that a smaller map gains nothing (what Levine et al. 2020 have as a divergence)
    :param curvature: squared error of the transition's linearisation at points nearby (Levine et al. 2020, Eq. 12)
    :param contrastive: -ln of the probability that each pushed mean's own successor is picked from those of the batch
        (as the predictive coding of Shu et al. 2020, with Gaussians and outliers): it unfolds a latent that tells all
        pictures from each other, but has near ones far apart
    """

    prior: float = 1.0
    transition: float = 0.25
    consistency: float = 0.0
    curvature: float = 0.0
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value >= 0:
                raise ValueError(f"{field.name}={value!r}: accepted are numbers from 0 up")


@dataclass(frozen=True)
class E2CModel:
    """The three networks."""

    encoder: GaussianEncoder
    decoder: PictureDecoder
    transition: LocallyLinearTransition


def e2c_loss(
    model: E2CModel,
    pictures: th.Tensor,
    actions: th.Tensor,
    weights: E2CWeights,
    transition_sample: str = "same",
    curvature_noise: float = 0.1,
) -> tuple[th.Tensor, dict[str, th.Tensor]]:
    """The mean over a batch of sequences, and its parts.

    For one step it is the loss of Watter et al. (2015), Eq. 12. For k, the sample of the first latent is pushed on
    through the transition, each latent is decoded, and each pushed one compared with what the encoder says of its
    picture; sums over steps are divided by k.

    :param pictures: (batch, k + 1, channels, height, width) in [0, 1]
    :param actions: (batch, k, action_dim); action t causes picture t + 1
    :param transition_sample: see :class:`~ardae_rl.e2c.transition.LocallyLinearTransition`; "resample" for k = 1
    :param curvature_noise: standard deviation of the points nearby
    :raises ValueError: for arguments outside of what is accepted
    """
    check_choice("transition_sample", transition_sample, TRANSITION_SAMPLES)
    k = actions.shape[1]
    if transition_sample == "resample" and k > 1:
        raise ValueError(f"transition_sample='resample' with sequences of {k} steps: accepted is 1")
    mean, log_std = (part.unflatten(0, pictures.shape[:2]) for part in model.encoder(pictures.flatten(0, 1)))
    transition, spread = model.transition, mean.detach().flatten(0, 1).std(0)
    z, following, linearised = transition.transitions(mean[:, 0], log_std[:, 0], actions[:, 0], transition_sample)
    pushed, foreseen = (mean[:, 0], th.diag_embed((2 * log_std[:, 0]).exp())), mean[:, 0]
    log_determinant = 2 * log_std[:, 0].sum(-1)  # of the pushed covariance, without process noise
    sums: dict[str, th.Tensor] = defaultdict(lambda: mean.new_zeros(()))
    for t in range(k):
        u, target = actions[:, t], (mean[:, t + 1], log_std[:, t + 1])
        if t > 0:
            linearised = transition(following)
            following = transition.noisy(linearised(following, u))
        pushed = transition.push(linearised, *pushed, u)
        log_determinant = log_determinant + 2 * linearised.log_determinant()
        kl = (
            transition.kl(linearised, mean[:, 0], log_std[:, 0], u, *target)
            if t == 0
            else kl_to_diagonal(*pushed, *target, None if transition.process_noise else log_determinant)
        )
        sums["kl_transition"] += kl.mean()
        sums["prediction"] += _error(model.decoder(following), pictures[:, t + 1])
        if weights.consistency or weights.contrastive:
            foreseen = transition(foreseen)(foreseen, u)
        if weights.consistency:
            sums["consistency"] += ((foreseen - mean[:, t + 1]) / spread).square().sum(-1).mean()
        if weights.contrastive:
            sums["contrastive"] += _contrast(foreseen, mean[:, t + 1])
        if weights.curvature:
            sums["curvature"] += _curvature(transition, mean[:, t], u, curvature_noise)
    terms = {name: value / k for name, value in sums.items()}
    terms["reconstruction"] = _error(model.decoder(z), pictures[:, 0])
    terms["kl_prior"] = kl_to_standard(mean[:, 0], log_std[:, 0]).mean()
    loss = terms["reconstruction"] + terms["prediction"]
    for name, weight in (
        ("kl_prior", weights.prior),
        ("kl_transition", weights.transition),
        ("consistency", weights.consistency),
        ("curvature", weights.curvature),
        ("contrastive", weights.contrastive),
    ):
        if weight:
            loss = loss + weight * terms[name]
    return loss, {name: value.detach() for name, value in terms.items()}


def _error(logits: th.Tensor, pictures: th.Tensor) -> th.Tensor:
    """-ln p(x|z) of Bernoulli pixels, summed over a picture, the mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits, pictures, reduction="sum") / len(pictures)


def _contrast(foreseen: th.Tensor, following: th.Tensor) -> th.Tensor:
    """-ln of each row's own successor's share among all, (n, d) each.

    Densities are Gaussian around what was foreseen, with a floor: without it the few pictures that do not show where
    things are would draw all that leads to them together.
    """
    following = following + CONTRASTIVE_STD * th.randn_like(following)
    squares = (foreseen.unsqueeze(1) - following).square().sum(-1) / CONTRASTIVE_STD**2
    log_density = th.logaddexp(-0.5 * squares, squares.new_tensor(OUTLIER))
    return F.cross_entropy(log_density, th.arange(len(foreseen), device=foreseen.device))


def _curvature(transition: LocallyLinearTransition, z: th.Tensor, u: th.Tensor, noise: float) -> th.Tensor:
    """E |f(z + δ, u + η) - f(z, u) - J (δ, η)|² over random δ and η."""
    z, u = z.detach(), u.detach()
    delta, eta = noise * th.randn_like(z), noise * th.randn_like(u)

    def f(z: th.Tensor, u: th.Tensor) -> th.Tensor:
        return transition(z)(z, u)

    value, slope = jvp(f, (z, u), (delta, eta))[:2]
    return (f(z + delta, u + eta) - value - slope).square().sum(-1).mean()
