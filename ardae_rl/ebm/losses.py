"""A discriminator of the form of the optimal one, and what it says of cost, partition function and sampler.

D = p_θ / (p_θ + q) with p_θ = e^{-c} / Z, of samples of p and of q; c is a cost, or an energy (Finn et al. 2016, A
connection between generative adversarial networks, inverse reinforcement learning, and energy-based models,
https://arxiv.org/abs/1611.03852). Costs, log densities and logits are tensors of one number for each sample.
"""

import math

import torch as th
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice

GENERATOR_LOSSES = ("original", "non_saturating", "combined")


def discriminator_logits(cost: th.Tensor, log_q: th.Tensor, log_z: th.Tensor | float) -> th.Tensor:
    """logit D = ln p_θ - ln q."""
    return -cost - log_z - log_q


def discriminator_loss(demo_logits: th.Tensor, sample_logits: th.Tensor) -> th.Tensor:
    """-E_p ln D - E_q ln(1 - D), a scalar."""
    return F.softplus(-demo_logits).mean() + F.softplus(sample_logits).mean()


def generator_loss(logits: th.Tensor, kind: str = "combined") -> th.Tensor:
    """What the sampler makes small, for each of its samples.

    Only the sum of the two halves has the gradient of KL(q || p_θ), and where D is optimal its mean is KL(q || p).

    :param kind: "original", ln(1 - D); "non_saturating", -ln D; "combined", their sum, which is -logit D
    :raises ValueError: for another kind
    """
    check_choice("kind", kind, GENERATOR_LOSSES)
    if kind == "original":
        return -F.softplus(logits)
    if kind == "non_saturating":
        return F.softplus(-logits)
    return -logits


def log_mixture(cost: th.Tensor, log_q: th.Tensor, log_z: th.Tensor | float) -> th.Tensor:
    """ln μ̃ of μ̃ = ½ e^{-c} / Z + ½ q: the mixture of p and q, with the model in the place of p."""
    return th.logaddexp(-cost - log_z, log_q) - math.log(2)


def cost_loss(
    demo_cost: th.Tensor,
    demo_log_q: th.Tensor,
    sample_cost: th.Tensor,
    sample_log_q: th.Tensor,
    log_z: th.Tensor | float,
) -> th.Tensor:
    """E_p c + ln E_μ[e^{-c} / μ̃], guided cost learning's negative log likelihood with μ = ½ p + ½ q, a scalar.

    Its gradient takes μ̃ for fixed, as the density of a proposal. With the Z of :func:`mixture_log_partition` it is that
    of :func:`discriminator_loss`, and with μ̃ not held fixed it is another.
    """
    weighted = []
    for cost, log_q in ((demo_cost, demo_log_q), (sample_cost, sample_log_q)):
        log_weights = -cost - log_mixture(cost, log_q, log_z).detach()
        weighted.append(log_weights.logsumexp(0) - math.log(len(cost)) - math.log(2))
    return demo_cost.mean() + th.logaddexp(*weighted)
