"""Inverse autoregressive flows of a vector, and of the noise of a whole sequence (Kingma et al. 2016)."""

import torch as th
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.common.optional import require

_MAX_LOG_SCALE = 3.0  # bound of |ln σ|, for stability early in training


class InverseAutoregressiveFlow(nn.Module):
    """The map z' = μ + σ z, where μ_n and σ_n depend on z_1, ..., z_{n-1} and a context.

    Its inverse would be slow, but is not needed. Every unit of the masked network sees the context, so that the first
    dimension depends on it too.

    :param dim: Dimension of z.
    :param context_dim: Dimension of the context, at least 1.
    :param reverse: Whether to reverse the order of the dimensions.
    :raises ValueError: If a dimension is not positive.
    :raises ImportError: If zuko is not installed.
    """

    def __init__(self, dim: int, context_dim: int, reverse: bool = False) -> None:
        super().__init__()
        for name, value in {"dim": dim, "context_dim": context_dim}.items():
            check_count(name, value)
        require("zuko", "flows")
        from zuko.nn import MaskedMLP

        earlier = th.ones(dim, dim, dtype=th.bool).tril(-1)
        if reverse:
            earlier = earlier.T
        adjacency = th.cat([earlier, th.ones(dim, context_dim, dtype=th.bool)], 1)
        self.dim = dim
        self.network = MaskedMLP(adjacency.repeat(2, 1), [64, 64], activation=nn.ELU)
        for parameter in self.network[-1].parameters():  # near the identity at initialization
            parameter.data *= 0.1

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return z' (..., dim) and the log-determinant Σ ln σ (...); the context has shape (..., context_dim)."""
        mean, raw = self.network(th.cat([z, context], -1)).chunk(2, -1)
        log_std = _MAX_LOG_SCALE * (raw / _MAX_LOG_SCALE).tanh()
        return mean + log_std.exp() * z, log_std.sum(-1)


class FlowSequence(nn.Module):
    """A sequence of inverse autoregressive flows, with the order of dimensions alternating.

    :param n_flows: Number of flows.
    :param dim: Dimension of z.
    :param context_dim: Dimension of the context.
    """

    def __init__(self, n_flows: int, dim: int, context_dim: int) -> None:
        super().__init__()
        check_count("n_flows", n_flows)
        self.flows = nn.ModuleList(
            InverseAutoregressiveFlow(dim, context_dim, reverse=i % 2 == 1) for i in range(n_flows)
        )

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        log_determinant = z.new_zeros(z.shape[:-1])
        for flow in self.flows:
            z, change = flow(z, context)
            log_determinant = log_determinant + change
        return z, log_determinant


class TrajectoryFlow(nn.Module):
    """Inverse autoregressive flows over all (T + 1) d numbers of a sequence, in temporal order.

    μ and σ of step t depend on the earlier steps through a recurrent network, on the earlier dimensions of the step,
    and on the context of the step, which may depend on the whole sequence. Every second flow reverses time and
    dimensions. The same parameters apply to sequences of any length.

    :param n_flows: Number of flows.
    :param dim: Dimension d of a step.
    :param context_dim: Dimension of the context of a step.
    :param memory: Width of the recurrent networks.
    """

    def __init__(self, n_flows: int, dim: int, context_dim: int, memory: int = 32) -> None:
        super().__init__()
        check_count("n_flows", n_flows)
        self.memories = nn.ModuleList(nn.GRU(dim + context_dim, memory, batch_first=True) for _ in range(n_flows))
        self.flows = nn.ModuleList(
            InverseAutoregressiveFlow(dim, context_dim + memory, reverse=i % 2 == 1) for i in range(n_flows)
        )

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return z' (batch, T + 1, dim) and the log-determinant of the whole map (batch,).

        :param z: (batch, T + 1, dim).
        :param context: (batch, T + 1, context_dim).
        """
        log_determinant = z.new_zeros(len(z))
        for i, (memory, flow) in enumerate(zip(self.memories, self.flows, strict=True)):
            backwards = i % 2 == 1
            if backwards:
                z, context = z.flip(1), context.flip(1)
            previous = th.cat([th.zeros_like(z[:, :1]), z[:, :-1]], 1)
            code, _ = memory(th.cat([previous, context], -1))
            z, change = flow(z, th.cat([context, code], -1))
            log_determinant = log_determinant + change.sum(1)
            if backwards:
                z, context = z.flip(1), context.flip(1)
        return z, log_determinant
