"""Inverse autoregressive flows of a vector, and of all the noise of a sequence (Kingma et al. 2016)."""

from collections.abc import Sequence

import torch as th
from torch import nn

from ardae_rl.common.checks import check_positive
from ardae_rl.common.optional import require

_BOUND = 3.0  # of ln σ, in absolute value, so that no flow can be wild in the beginning


class InverseAutoregressiveFlow(nn.Module):
    """z' = μ + σ z, with μ_n and σ_n from z_1, ..., z_{n-1} and a context: its inverse is slow, but is not needed.

    The masked network lets the context into every unit, so that the first dimension depends on it as well.

    :param dim: of z
    :param context_dim: of the context; at least 1
    :param hidden: widths of the masked network
    :param reverse: whether the order of the dimensions is turned round
    :raises ValueError: for numbers below 1
    :raises ImportError: without zuko
    """

    def __init__(self, dim: int, context_dim: int, hidden: Sequence[int] = (64, 64), reverse: bool = False) -> None:
        super().__init__()
        for name, value in {"dim": dim, "context_dim": context_dim}.items():
            check_positive(name, value)
        require("zuko", "flows")
        from zuko.nn import MaskedMLP

        earlier = th.ones(dim, dim, dtype=th.bool).tril(-1)
        if reverse:
            earlier = earlier.T
        adjacency = th.cat([earlier, th.ones(dim, context_dim, dtype=th.bool)], 1)
        self.dim = dim
        self.network = MaskedMLP(adjacency.repeat(2, 1), list(hidden), activation=nn.ELU)
        for parameter in self.network[-1].parameters():  # near the identity in the beginning
            parameter.data *= 0.1

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """z', (..., dim), of (..., dim) and (..., context_dim), and Σ ln σ, the log determinant, (...)."""
        mean, raw = self.network(th.cat([z, context], -1)).chunk(2, -1)
        log_std = _BOUND * (raw / _BOUND).tanh()
        return mean + log_std.exp() * z, log_std.sum(-1)


class FlowSequence(nn.Module):
    """Flows one after another, each in the other order of dimensions.

    :param n_flows: how many
    :param dim: see :class:`InverseAutoregressiveFlow`, as for the next two
    """

    def __init__(self, n_flows: int, dim: int, context_dim: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        check_positive("n_flows", n_flows)
        self.flows = nn.ModuleList(
            InverseAutoregressiveFlow(dim, context_dim, hidden, reverse=i % 2 == 1) for i in range(n_flows)
        )

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        log_determinant = z.new_zeros(z.shape[:-1])
        for flow in self.flows:
            z, change = flow(z, context)
            log_determinant = log_determinant + change
        return z, log_determinant


class TrajectoryFlow(nn.Module):
    """Inverse autoregressive flows over all the (T + 1) d numbers of a sequence, in the order of time.

    μ and σ of step t depend on the steps before it through a recurrent network, on the dimensions before within the
    step, and on the context of the step, which may know the whole sequence. Every second flow goes the other way, in
    time and in dimensions. The same parameters serve sequences of any length.

    :param n_flows: how many
    :param dim: d, of a step
    :param context_dim: of a step's context
    :param memory: width of the recurrent networks
    :param hidden: widths of the masked networks
    """

    def __init__(
        self, n_flows: int, dim: int, context_dim: int, memory: int = 32, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        check_positive("n_flows", n_flows)
        self.memories = nn.ModuleList(nn.GRU(dim + context_dim, memory, batch_first=True) for _ in range(n_flows))
        self.flows = nn.ModuleList(
            InverseAutoregressiveFlow(dim, context_dim + memory, hidden, reverse=i % 2 == 1) for i in range(n_flows)
        )

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """z', (batch, T + 1, dim), and the log determinant of the whole map, (batch).

        :param context: (batch, T + 1, context_dim)
        """
        log_determinant = z.new_zeros(len(z))
        for i, (memory, flow) in enumerate(zip(self.memories, self.flows, strict=True)):
            backwards = i % 2 == 1
            if backwards:
                z, context = z.flip(1), context.flip(1)
            before = th.cat([th.zeros_like(z[:, :1]), z[:, :-1]], 1)
            remembered, _ = memory(th.cat([before, context], -1))
            z, change = flow(z, th.cat([context, remembered], -1))
            log_determinant = log_determinant + change.sum(1)
            if backwards:
                z, context = z.flip(1), context.flip(1)
        return z, log_determinant
