"""The partition function of e^{-c}, estimated from samples."""

import math

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice

PARTITIONS = ("mixture", "sampler", "learned")
_N_BISECTIONS = 100


class PartitionFunction(nn.Module):
    """ln Z of p_θ = e^{-c} / Z, for a discriminator of the form p_θ / (p_θ + q).

    Example:

    >>> import torch
    >>> from ardae_rl.ebm import PartitionFunction
    >>> partition = PartitionFunction("sampler")
    >>> normal = torch.distributions.Normal(0.0, 2.0)  # q
    >>> x = normal.sample((10_000,))
    >>> partition.update(x, x, 0.5 * x**2, normal.log_prob(x))  # this kind ignores demonstrations
    >>> abs(float(partition.log_z) - 0.5 * torch.log(torch.tensor(2 * torch.pi)).item()) < 0.1
    True

    :param kind: "mixture" (the Z that minimizes the discriminator's loss, which is also the fixed point of importance
        sampling from ½ p + ½ q), "sampler" (importance sampling from q alone, which is unbiased for Z but has a large
        variance if q misses regions of low cost) or "learned" (a parameter of the discriminator). "mixture" and
        "learned" give the true partition function only if p_θ = p.
    :raises ValueError: If ``kind`` is unknown.
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
        """Update the estimate of ln Z. A learned ln Z is left to the discriminator's optimizer.

        :param demo_cost: c at samples of p, (n,).
        :param demo_log_q: ln q at samples of p, (n,).
        :param sample_cost: c at samples of q, (m,).
        :param sample_log_q: ln q at samples of q, (m,).
        """
        if self.kind == "mixture":
            self.log_z.copy_(mixture_log_partition(-demo_cost - demo_log_q, -sample_cost - sample_log_q))
        elif self.kind == "sampler":
            self.log_z.copy_(sampler_log_partition(-sample_cost - sample_log_q))


def sampler_log_partition(sample_log_ratio: th.Tensor) -> th.Tensor:
    """Return ln E_q[e^{-c} / q].

    :param sample_log_ratio: -c - ln q at samples of q, (m,).
    """
    return sample_log_ratio.logsumexp(0) - math.log(len(sample_log_ratio))


def mixture_log_partition(demo_log_ratio: th.Tensor, sample_log_ratio: th.Tensor) -> th.Tensor:
    """Return ln Z at the fixed point of Z = E_μ[e^{-c} / (½ e^{-c} / Z + ½ q)], with μ = ½ p + ½ q.

    At the fixed point E_p[1 - D] = E_q[D], which is the condition of Bennett's acceptance ratio (1976) and the minimum
    of the discriminator's loss over ln Z, in which it is convex. It is found by bisection in double precision.

    :param demo_log_ratio: -c - ln q at samples of p, (n,).
    :param sample_log_ratio: -c - ln q at samples of q, (m,).
    """
    demo, sample = demo_log_ratio.double(), sample_log_ratio.double()
    both = th.cat([demo, sample])
    low, high = both.min(), both.max()
    for _ in range(_N_BISECTIONS):
        middle = 0.5 * (low + high)
        too_large = (middle - demo).sigmoid().mean() > (sample - middle).sigmoid().mean()
        low, high = th.where(too_large, low, middle), th.where(too_large, middle, high)
    return (0.5 * (low + high)).to(demo_log_ratio)
