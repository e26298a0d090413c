"""The memory: a recurrent model of the next latent, the reward and the end of the episode."""

from typing import NamedTuple

import torch as th
from torch import nn
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.world_models.mixture import Mixture, cross_entropy_bound, gaussian_kl, negative_log_likelihood

FORMS = ("per_dimension", "joint")
Z_LOSSES = ("nll", "bound", "gaussian_kl")
LEAST_LOG_SCALE, GREATEST_LOG_SCALE = -7.0, 5.0

State = tuple[th.Tensor, th.Tensor]


class Prediction(NamedTuple):
    """What follows (z_t, a_t)."""

    z: Mixture  # of z_{t+1}
    reward: th.Tensor  # (...)
    done_logit: th.Tensor  # (...)


class MemoryRNN(nn.Module):
    """An LSTM with a mixture density head (MDN-RNN), and heads for reward and end.

    Reference: Ha and Schmidhuber (2018), World Models, App. A.2; Graves (2013), arXiv:1308.0850.

    :param z_dim: dimension of the latent
    :param action_dim: dimension of actions (one-hot, if they are discrete)
    :param hidden: width of the LSTM
    :param n_components: components of the mixture; 1 for a Gaussian
    :param form: "per_dimension" or "joint", see :class:`~ardae_rl.world_models.mixture.Mixture`
    :raises ValueError: for arguments outside of what is accepted
    """

    def __init__(
        self, z_dim: int, action_dim: int, hidden: int = 256, n_components: int = 5, form: str = "per_dimension"
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        for name, value in {"z_dim": z_dim, "action_dim": action_dim, "hidden": hidden}.items():
            check_positive(name, value)
        check_positive("n_components", n_components)
        self.z_dim, self.action_dim, self.hidden, self.n_components = z_dim, action_dim, hidden, n_components
        self.n_weights = z_dim if form == "per_dimension" else 1
        self.lstm = nn.LSTM(z_dim + action_dim, hidden, batch_first=True)
        self.head = nn.Linear(hidden, (self.n_weights + 2 * z_dim) * n_components + 2)

    def initial_state(self, n: int) -> State:
        """(h, c) before an episode, (n, hidden) each."""
        zeros = self.head.weight.new_zeros(n, self.hidden)
        return zeros, zeros.clone()

    def forward(self, z: th.Tensor, actions: th.Tensor, state: State | None = None) -> tuple[Prediction, State]:
        """Predictions after each step of sequences, and the state after the last.

        :param z: (batch, length, z_dim)
        :param actions: (batch, length, action_dim), of the same steps
        :param state: (batch, hidden) each, before the first step; zeros if None
        """
        h, c = self.initial_state(len(z)) if state is None else state
        output, (h, c) = self.lstm(th.cat([z, actions], -1), (h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()))
        return self.predict(output), (h.squeeze(0), c.squeeze(0))

    def step(self, z: th.Tensor, actions: th.Tensor, state: State) -> State:
        """The state after one step, without predictions: (n, z_dim), (n, action_dim), (n, hidden) each."""
        h, c = state
        _, (h, c) = self.lstm(th.cat([z, actions], -1).unsqueeze(1), (h.unsqueeze(0), c.unsqueeze(0)))
        return h.squeeze(0), c.squeeze(0)

    def predict(self, h: th.Tensor) -> Prediction:
        """What the head says of hidden states (..., hidden)."""
        n, k = self.z_dim, self.n_components
        logits, means, log_scales, rest = self.head(h).split([self.n_weights * k, n * k, n * k, 2], -1)
        log_weights = logits.unflatten(-1, (self.n_weights, k)).log_softmax(-1)
        log_scales = _softly_bounded(log_scales.unflatten(-1, (n, k)))
        return Prediction(Mixture(log_weights, means.unflatten(-1, (n, k)), log_scales), rest[..., 0], rest[..., 1])


def z_loss(kind: str, mixture: Mixture, z: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """How badly the next latent was predicted, (...), from a draw z of V's posterior and from that itself.

    The expectation of "nll" over z is "gaussian_kl" plus the posterior's entropy if there is one component, and at most
    "bound" in general: both are what is left of "nll" when the draw's noise is integrated out.

    :param kind: "nll" (-ln p(z)), "bound" (:func:`~ardae_rl.world_models.mixture.cross_entropy_bound`), or
        "gaussian_kl" (KL of the posterior to the one component)
    :param z: (..., z_dim), as ``mean`` and ``log_std``
    """
    check_choice("z_loss", kind, Z_LOSSES)
    if kind == "nll":
        return negative_log_likelihood(mixture, z)
    return (cross_entropy_bound if kind == "bound" else gaussian_kl)(mixture, mean, log_std)


def _softly_bounded(x: th.Tensor) -> th.Tensor:
    """Between the bounds of ln σ, with a slope everywhere; nearly x inside of them."""
    above = LEAST_LOG_SCALE + F.softplus(x - LEAST_LOG_SCALE)
    return GREATEST_LOG_SCALE - F.softplus(GREATEST_LOG_SCALE - above)
