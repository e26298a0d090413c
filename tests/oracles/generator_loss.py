"""Losses of a GAN's generator: only their sum has the gradient of the divergence to the model (Finn et al. 2016)."""

import torch as th
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice

GENERATOR_LOSSES = ("original", "non_saturating", "combined")


def generator_loss(logits: th.Tensor, kind: str = "combined") -> th.Tensor:
    """Return the loss of each sample of q.

    Only "combined" has the gradient of KL(q || p_θ), and if D is optimal, its mean is KL(q || p).

    :param logits: logit D at the samples.
    :param kind: "original", ln(1 - D); "non_saturating", -ln D; "combined", their sum, which is -logit D.
    :raises ValueError: If ``kind`` is another one.
    """
    check_choice("kind", kind, GENERATOR_LOSSES)
    if kind == "original":
        return -F.softplus(logits)
    if kind == "non_saturating":
        return F.softplus(-logits)
    return -logits
