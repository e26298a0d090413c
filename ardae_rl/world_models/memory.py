"""The memory: a recurrent model that predicts the next latent, the reward and the end of an episode."""

from typing import NamedTuple

import torch as th
from torch import nn

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.gaussians import soft_clamp
from ardae_rl.world_models.mixture import Mixture, cross_entropy_bound, gaussian_kl, negative_log_likelihood

FORMS = ("per_dimension", "joint")
Z_LOSSES = ("nll", "bound", "gaussian_kl")
LOG_SCALE_MIN, LOG_SCALE_MAX = -7.0, 5.0

State = tuple[th.Tensor, th.Tensor]


class Prediction(NamedTuple):
    """Predictions after (z_t, a_t)."""

    z: Mixture  # density of z_{t+1}
    reward: th.Tensor  # (...)
    done_logit: th.Tensor  # logit of the probability that the episode terminates, (...)


class MemoryRNN(nn.Module):
    """An LSTM with a mixture density head (MDN-RNN), and heads for the reward and the end of the episode.

    Reference: Ha and Schmidhuber (2018), World Models, App. A.2; Graves (2013), arXiv:1308.0850.

    Example:

    >>> import torch as th
    >>> from ardae_rl.world_models.memory import MemoryRNN
    >>> memory = MemoryRNN(z_dim=4, action_dim=2, hidden=16)
    >>> prediction, (h, c) = memory(th.randn(3, 10, 4), th.randn(3, 10, 2))
    >>> prediction.z.mean.shape, prediction.reward.shape, h.shape
    (torch.Size([3, 10, 4]), torch.Size([3, 10]), torch.Size([3, 16]))

    :param z_dim: Dimension of the latent.
    :param action_dim: Dimension of the actions; the number of actions if they are discrete (one-hot).
    :param hidden: Number of hidden units of the LSTM.
    :param n_components: Number of components of the mixture; 1 for a Gaussian.
    :param form: ``"per_dimension"`` or ``"joint"``, see :class:`~ardae_rl.world_models.mixture.Mixture`.
    :raises ValueError: For a value outside of its range.
    """

    def __init__(
        self, z_dim: int, action_dim: int, hidden: int = 256, n_components: int = 5, form: str = "per_dimension"
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        for name, value in {"z_dim": z_dim, "action_dim": action_dim, "hidden": hidden}.items():
            check_count(name, value)
        check_count("n_components", n_components)
        self.z_dim, self.action_dim, self.hidden, self.n_components = z_dim, action_dim, hidden, n_components
        self.n_weights = z_dim if form == "per_dimension" else 1
        self.lstm = nn.LSTM(z_dim + action_dim, hidden, batch_first=True)
        self.head = nn.Linear(hidden, (self.n_weights + 2 * z_dim) * n_components + 2)

    def initial_state(self, n: int) -> State:
        """Return the state (h, c) at the start of an episode, (n, hidden) each."""
        zeros = self.head.weight.new_zeros(n, self.hidden)
        return zeros, zeros.clone()

    def forward(self, z: th.Tensor, actions: th.Tensor, state: State | None = None) -> tuple[Prediction, State]:
        """Return the predictions after each step of sequences, and the state after the last step.

        :param z: Latents (batch, length, z_dim).
        :param actions: Actions at the same steps, (batch, length, action_dim).
        :param state: State before the first step, (batch, hidden) each; None for zeros.
        """
        h, c = self.initial_state(len(z)) if state is None else state
        output, (h, c) = self.lstm(th.cat([z, actions], -1), (h.unsqueeze(0).contiguous(), c.unsqueeze(0).contiguous()))
        return self.predict(output), (h.squeeze(0), c.squeeze(0))

    def step(self, z: th.Tensor, actions: th.Tensor, state: State) -> State:
        """Return the state after one step, without predictions.

        :param z: Latents (n, z_dim).
        :param actions: Actions (n, action_dim).
        :param state: State before the step, (n, hidden) each.
        """
        h, c = state
        _, (h, c) = self.lstm(th.cat([z, actions], -1).unsqueeze(1), (h.unsqueeze(0), c.unsqueeze(0)))
        return h.squeeze(0), c.squeeze(0)

    def predict(self, h: th.Tensor) -> Prediction:
        """Return the heads' predictions for hidden states (..., hidden)."""
        n, k = self.z_dim, self.n_components
        logits, means, log_scales, reward_and_done = self.head(h).split([self.n_weights * k, n * k, n * k, 2], -1)
        log_weights = logits.unflatten(-1, (self.n_weights, k)).log_softmax(-1)
        log_scales = soft_clamp(log_scales.unflatten(-1, (n, k)), LOG_SCALE_MIN, LOG_SCALE_MAX)
        return Prediction(Mixture(log_weights, means.unflatten(-1, (n, k)), log_scales), *reward_and_done.unbind(-1))


def z_loss(kind: str, mixture: Mixture, z: th.Tensor, mean: th.Tensor, log_std: th.Tensor) -> th.Tensor:
    """Return the loss of predictions of the next latent, (...).

    With one component, the expectation of ``"nll"`` over z is ``"gaussian_kl"`` plus the posterior's entropy; in
    general it is at most ``"bound"``. Both integrate out the sampling noise of z.

    :param kind: ``"nll"`` for -ln p(z), ``"bound"`` for
        :func:`~ardae_rl.world_models.mixture.cross_entropy_bound`, or ``"gaussian_kl"`` for the KL divergence from the
        posterior to the only component.
    :param mixture: Predicted densities.
    :param z: Samples of V's posteriors, (..., z_dim).
    :param mean: Means of these posteriors, (..., z_dim).
    :param log_std: Log standard deviations of these posteriors, (..., z_dim).
    :raises ValueError: For an unknown kind, or ``"gaussian_kl"`` with several components.
    """
    check_choice("kind", kind, Z_LOSSES)
    if kind == "nll":
        return negative_log_likelihood(mixture, z)
    return (cross_entropy_bound if kind == "bound" else gaussian_kl)(mixture, mean, log_std)
