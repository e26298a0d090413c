"""Losses of a discriminator of the optimal form, D = p_θ / (p_θ + q) with p_θ = e^{-c} / Z.

D separates samples of p (demonstrations or data) from samples of q; c is a cost or an energy. Costs, log-densities
and logits have one entry per sample. Reference: Finn et al. (2016), A connection between generative adversarial
networks, inverse reinforcement learning, and energy-based models, https://arxiv.org/abs/1611.03852. D's own loss is
:func:`~ardae_rl.score.losses.contrastive_loss` of its logits.
"""

import math

import torch as th

from ardae_rl.score.losses import contrastive_loss

OBJECTIVES = ("gan", "cost")


def discriminator_logits(cost: th.Tensor, log_q: th.Tensor, log_z: th.Tensor | float) -> th.Tensor:
    """Return logit D = ln p_θ - ln q."""
    return -cost - log_z - log_q


def log_mixture(cost: th.Tensor, log_q: th.Tensor, log_z: th.Tensor | float) -> th.Tensor:
    """Return ln μ̃ of μ̃ = ½ e^{-c} / Z + ½ q, the mixture ½ p + ½ q with the model in place of p."""
    return th.logaddexp(-cost - log_z, log_q) - math.log(2)


def cost_loss(
    demo_cost: th.Tensor,
    demo_log_q: th.Tensor,
    sample_cost: th.Tensor,
    sample_log_q: th.Tensor,
    log_z: th.Tensor | float,
) -> th.Tensor:
    """Return E_p c + ln E_μ[e^{-c} / μ̃], the negative log-likelihood of guided cost learning with μ = ½ p + ½ q.

    The gradient treats μ̃ as constant, because it is the density of a proposal. With the Z of
    :func:`~ardae_rl.ebm.partition.mixture_log_partition`, this gradient equals that of the discriminator's loss;
    without the stop-gradient on μ̃ it would not.

    :param demo_cost: c at samples of p, (n,).
    :param demo_log_q: ln q at samples of p, (n,).
    :param sample_cost: c at samples of q, (m,).
    :param sample_log_q: ln q at samples of q, (m,).
    :param log_z: ln Z.
    """
    weighted = []
    for cost, log_q in ((demo_cost, demo_log_q), (sample_cost, sample_log_q)):
        log_weights = -cost - log_mixture(cost, log_q, log_z).detach()
        weighted.append(log_weights.logsumexp(0) - math.log(len(cost)) - math.log(2))
    return demo_cost.mean() + th.logaddexp(*weighted)


def energy_loss(
    objective: str,
    demo_cost: th.Tensor,
    demo_log_q: th.Tensor,
    sample_cost: th.Tensor,
    sample_log_q: th.Tensor,
    log_z: th.Tensor | float,
) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Return the loss of a cost or an energy, and the logits at samples of p, (n,), and of q, (m,).

    :param objective: One of ``OBJECTIVES``: "gan" (the discriminator's own loss) or "cost" (:func:`cost_loss`, whose
        arguments the other ones are).
    """
    demo_logits = discriminator_logits(demo_cost, demo_log_q, log_z)
    sample_logits = discriminator_logits(sample_cost, sample_log_q, log_z)
    if objective == "gan":
        loss = contrastive_loss(demo_logits, sample_logits)
    else:
        loss = cost_loss(demo_cost, demo_log_q, sample_cost, sample_log_q, log_z)
    return loss, demo_logits, sample_logits
