"""Normalizing flows: invertible maps of R^d with the log-determinant of their Jacobian."""

from abc import ABC, abstractmethod
from typing import Any

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.optional import require


class Flow(nn.Module, ABC):
    """An invertible map z ↦ x of points (..., dim), which may depend on a context of shape (..., context_dim)."""

    @abstractmethod
    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return x, shape (..., dim), and ln |det ∂x/∂z|, shape (...)."""

    @abstractmethod
    def inverse(self, x: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Return z, shape (..., dim), and ln |det ∂z/∂x|, shape (...)."""


class RadialFlow(Flow):
    """Contraction or expansion around a point, x = z + β (z - z₀) / (α + r), r = ‖z - z₀‖ (Rezende and Mohamed 2015).

    The map is invertible for β > -α, which β = -α + softplus(·) ensures. The parameters are the same for all
    contexts, as in Mazoure et al. (2019).

    :param dim: Dimension of the points.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim
        self.center = nn.Parameter(0.01 * th.randn(dim))
        self.log_alpha = nn.Parameter(th.zeros(()))
        self.raw_beta = nn.Parameter(th.full((), 0.5413))  # softplus(0.5413) = 1: β = 0, the identity

    def _alpha_beta(self) -> tuple[th.Tensor, th.Tensor]:
        alpha = self.log_alpha.exp()
        return alpha, F.softplus(self.raw_beta) - alpha

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        alpha, beta = self._alpha_beta()
        offset = z - self.center
        radius = _norm(offset)
        stretch = 1 + beta / (alpha + radius)  # across the radius
        radial = 1 + alpha * beta / (alpha + radius).square()  # along it: the derivative of r + β r / (α + r)
        log_det = (self.dim - 1) * stretch.log() + radial.log()
        return self.center + stretch * offset, log_det.squeeze(-1)

    def inverse(self, x: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        alpha, beta = self._alpha_beta()
        offset = x - self.center
        stretched = _norm(offset)
        # The positive root of r² + (α + β - r') r - α r' = 0
        half = 0.5 * (stretched - alpha - beta)
        radius = half + (half.square() + alpha * stretched).sqrt()
        z = self.center + offset / (1 + beta / (alpha + radius))
        return z, -self(z, context)[1]


class PlanarFlow(Flow):
    """Contraction or expansion across a plane, x = z + u tanh(wᵀz + b) (Rezende and Mohamed 2015).

    The map is invertible for wᵀu > -1, which moving u along w ensures (their App. A.1). The parameters are the same for
    all contexts.

    :param dim: Dimension of the points.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(th.randn(dim) / dim**0.5)
        self.scale = nn.Parameter(0.01 * th.randn(dim))
        self.bias = nn.Parameter(th.zeros(()))

    def _allowed_scale(self) -> tuple[th.Tensor, th.Tensor]:
        """Return u and wᵀu, which is above -1."""
        product = self.weight @ self.scale
        allowed = F.softplus(product + 0.5413) - 1  # softplus(0.5413) = 1: zero stays zero
        return self.scale + (allowed - product) * self.weight / (self.weight @ self.weight + 1e-12), allowed

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        scale, product = self._allowed_scale()
        activation = th.tanh(z @ self.weight + self.bias).unsqueeze(-1)
        log_det = th.log1p(product * (1 - activation.square())).squeeze(-1)
        return z + scale * activation, log_det

    def inverse(self, x: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        scale, product = self._allowed_scale()
        # t = wᵀz + b solves t + wᵀu tanh t = wᵀx + b. The left side is monotone: bisect within |wᵀu| of the right side
        target = x @ self.weight + self.bias
        low, high = target - product.abs(), target + product.abs()
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = middle + product * th.tanh(middle) > target
            low, high = th.where(above, low, middle), th.where(above, middle, high)
        z = x - scale * th.tanh(0.5 * (low + high)).unsqueeze(-1)
        return z, -self(z, context)[1]


class ZukoFlow(Flow):
    """A zuko transform, whose parameters depend on the context. Sampling takes one pass through its network.

    :param kind: "autoregressive" (affine inverse autoregressive flow, Kingma et al. 2016) or "coupling"
        (rational-quadratic splines, Durkan et al. 2019).
    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context.
    :param reverse: Whether the order of dimensions is reversed.
    :raises ImportError: Without the extra ``flows``.
    """

    def __init__(self, kind: str, dim: int, context_dim: int, reverse: bool):
        super().__init__()
        require("zuko", "flows")
        from zuko.flows import MaskedAutoregressiveTransform
        from zuko.transforms import MonotonicRQSTransform

        kwargs: dict[str, Any] = {
            "order": th.arange(dim).flip(0) if reverse else None,
            "hidden_features": (64, 64),
        }
        if kind == "coupling":
            n_bins = 8
            shapes = [(n_bins,), (n_bins,), (n_bins - 1,)]
            kwargs |= {"passes": 2, "univariate": MonotonicRQSTransform, "shapes": shapes}
        self.transform = MaskedAutoregressiveTransform(dim, context_dim, **kwargs)
        # Masks and orders are constants, and SB3 expects only floating-point numbers in a state_dict
        for module in self.transform.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=False)

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        x, log_det = self.transform(context).call_and_ladj(z)
        return x, log_det

    def inverse(self, x: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        z, log_det = self.transform(context).inv.call_and_ladj(x)
        return z, log_det


class FlowSequence(Flow):
    """Composition of flows, applied in the order of the list.

    :param flows: Flows to compose.
    """

    def __init__(self, flows: list[Flow]):
        super().__init__()
        self.flows = nn.ModuleList(flows)

    def forward(self, z: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        log_det = z.new_zeros(z.shape[:-1])
        for flow in self.flows:
            z, step = flow(z, context)
            log_det = log_det + step
        return z, log_det

    def inverse(self, x: th.Tensor, context: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        log_det = x.new_zeros(x.shape[:-1])
        for flow in reversed(self.flows):
            assert isinstance(flow, Flow)
            x, step = flow.inverse(x, context)
            log_det = log_det + step
        return x, log_det


FLOWS = ("radial", "planar", "autoregressive", "coupling")


def make_flow(kind: str, n_flows: int, dim: int, context_dim: int) -> FlowSequence:
    """Return a composition of flows of one kind. The order of the dimensions alternates between zuko's flows.

    Example:

    >>> import torch as th
    >>> from ardae_rl.sac_nf.flows import make_flow
    >>> flow = make_flow("radial", n_flows=3, dim=2, context_dim=0)
    >>> x, log_det = flow(th.randn(5, 2), th.zeros(5, 0))
    >>> x.shape, log_det.shape
    (torch.Size([5, 2]), torch.Size([5]))

    :param kind: One of ``FLOWS``.
    :param n_flows: Number of flows.
    :param dim: Dimension of the points.
    :param context_dim: Dimension of the context.
    """
    simple = {"radial": RadialFlow, "planar": PlanarFlow}
    if kind in simple:
        return FlowSequence([simple[kind](dim) for _ in range(n_flows)])
    return FlowSequence([ZukoFlow(kind, dim, context_dim, reverse=k % 2 == 1) for k in range(n_flows)])


def _norm(x: th.Tensor) -> th.Tensor:
    """Return norms of shape (..., 1), differentiable at zero."""
    return (x.square().sum(-1, keepdim=True) + 1e-12).sqrt()
