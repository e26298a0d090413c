"""The partition function of e^{-c}, from samples."""

import math

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice

PARTITIONS = ("mixture", "sampler", "learned")
_N_BISECTIONS = 100


class PartitionFunction(nn.Module):
    """ln Z of p_θ = e^{-c} / Z, as a discriminator of the form p_θ / (p_θ + q) has it.

    :param kind: "mixture" (the Z that minimises the discriminator's loss, and the fixed point of importance sampling
        from ½ p + ½ q), "sampler" (importance sampling from q alone: unbiased for Z, but with a large variance where
        q misses what e^{-c} has) or "learned" (a parameter of the discriminator). The first and the last are the true
        partition function if p = p_θ, and only then.
    :raises ValueError: for another kind
    """

    log_z: th.Tensor

    def __init__(self, kind: str = "mixture") -> None:
        super().__init__()
        check_choice("kind", kind, PARTITIONS)
        self.kind = kind
        if kind == "learned":
            self.log_z = nn.Parameter(th.zeros(()))
        else:
            self.register_buffer("log_z", th.zeros(()))

    @th.no_grad()
    def update(
        self, demo_cost: th.Tensor, demo_log_q: th.Tensor, sample_cost: th.Tensor, sample_log_q: th.Tensor
    ) -> None:
        """Estimate ln Z anew; a learned one is left to the discriminator's optimizer.

        :param demo_cost: c of demonstrations, (n)
        :param demo_log_q: ln q of them, (n)
        :param sample_cost: c of q's samples, (m)
        :param sample_log_q: ln q of them, (m)
        """
        if self.kind == "mixture":
            self.log_z.copy_(mixture_log_partition(-demo_cost - demo_log_q, -sample_cost - sample_log_q))
        elif self.kind == "sampler":
            self.log_z.copy_(sampler_log_partition(-sample_cost - sample_log_q))


def sampler_log_partition(sample_log_ratio: th.Tensor) -> th.Tensor:
    """ln E_q[e^{-c} / q].

    :param sample_log_ratio: -c - ln q of q's samples, (m)
    """
    return sample_log_ratio.logsumexp(0) - math.log(len(sample_log_ratio))


def mixture_log_partition(demo_log_ratio: th.Tensor, sample_log_ratio: th.Tensor) -> th.Tensor:
    """The fixed point of Z = E_μ[e^{-c} / (½ e^{-c} / Z + ½ q)], μ = ½ p + ½ q.

    This is where E_p[1 - D] = E_q[D], the condition of Bennett's acceptance ratio (1976), and the minimum of the
    discriminator's loss, which is convex in ln Z. Found by bisection, in double precision.

    :param demo_log_ratio: -c - ln q of demonstrations, (n)
    :param sample_log_ratio: the same of q's samples, (m)
    """
    demo, sample = demo_log_ratio.double(), sample_log_ratio.double()
    both = th.cat([demo, sample])
    low, high = both.min(), both.max()
    for _ in range(_N_BISECTIONS):
        middle = 0.5 * (low + high)
        too_large = (middle - demo).sigmoid().mean() > (sample - middle).sigmoid().mean()
        low, high = th.where(too_large, low, middle), th.where(too_large, middle, high)
    return (0.5 * (low + high)).to(demo_log_ratio)
