"""Posteriors over the states of a sequence, each with the density that belongs to what it draws."""

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.common.checks import check_positive
from ardae_rl.common.gaussians import normal_log_density, standard_normal_log_density
from ardae_rl.dvbf.elbo import Drawn, StateSpaceModel
from ardae_rl.dvbf.flows import FlowSequence, TrajectoryFlow

_LEAST_LOG_STD, _GREATEST_LOG_STD = -7.0, 3.0


class SequenceEncoder(nn.Module):
    """What is known at each step: of the past, or of all of a sequence of observations and controls.

    :param obs_dim: of x
    :param act_dim: of u
    :param hidden: width of each direction
    :param smoothing: whether the future is known as well
    """

    def __init__(self, obs_dim: int, act_dim: int, hidden: int = 64, smoothing: bool = True) -> None:
        super().__init__()
        for name, value in {"obs_dim": obs_dim, "act_dim": act_dim, "hidden": hidden}.items():
            check_positive(name, value)
        self.smoothing = smoothing
        # A step's control comes after its observation, so that forwards it is that of the step before
        self.forwards = nn.GRU(obs_dim + act_dim, hidden, batch_first=True)
        self.backwards = nn.GRU(obs_dim + act_dim, hidden, batch_first=True) if smoothing else None
        self.out_features = hidden * (2 if smoothing else 1)

    def forward(self, x: th.Tensor, u: th.Tensor) -> th.Tensor:
        """(batch, T + 1, out_features) of x (batch, T + 1, obs_dim) and u (batch, T, act_dim)."""
        nothing = u.new_zeros(len(u), 1, u.shape[-1])
        past, _ = self.forwards(th.cat([x, th.cat([nothing, u], 1)], -1))
        if self.backwards is None:
            return past
        future, _ = self.backwards(th.cat([x, th.cat([u, nothing], 1)], -1).flip(1))
        return th.cat([past, future.flip(1)], -1)


class TrajectoryIAFPosterior(nn.Module):
    """All states from one draw of all the noise, through flows over the whole trajectory (Kingma et al. 2016).

    :param encoder: of the sequence
    :param z_dim: dimension d of a state
    :param n_flows: see :class:`~ardae_rl.dvbf.flows.TrajectoryFlow`
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, n_flows: int = 2) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.moments = nn.Linear(encoder.out_features, 2 * z_dim)
        self.flow = TrajectoryFlow(n_flows, z_dim, encoder.out_features)

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> Drawn:
        context = self.encoder(x, u)
        noise = th.randn(*x.shape[:2], self.z_dim, dtype=x.dtype, device=x.device)
        correlated, log_determinant = self.flow(noise, context)
        mean, log_std = _moments(self.moments(context))
        z = mean + log_std.exp() * correlated
        log_q = standard_normal_log_density(noise).sum(1) - log_determinant - log_std.sum((1, 2))
        return Drawn(z, model.log_prior(z, u), log_q)


class StepPosterior(nn.Module):
    """q(z_t | z_{t-1}, x, u), one step after another: a Gaussian, and flows after it if there are any.

    With a smoothing encoder it has the form of the true posterior, whose factors are p(z_t | z_{t-1}, x_{t:T}).

    :param encoder: of the sequence; filtering or smoothing
    :param z_dim: dimension d of a state
    :param n_flows: after the Gaussian; 0 for none
    :param hidden: widths of the network
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, n_flows: int = 0, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.network = nn.Sequential(*create_mlp(encoder.out_features + z_dim, 2 * z_dim, list(hidden), nn.Tanh))
        self.flow = FlowSequence(n_flows, z_dim, encoder.out_features) if n_flows else None

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> Drawn:
        context = self.encoder(x, u)
        before, log_q, states = x.new_zeros(len(x), self.z_dim), x.new_zeros(len(x)), []
        for known in context.unbind(1):
            mean, log_std = _moments(self.network(th.cat([known, before], -1)))
            noise = th.randn_like(mean)
            before = mean + log_std.exp() * noise
            log_q = log_q + standard_normal_log_density(noise) - log_std.sum(-1)
            if self.flow is not None:
                before, log_determinant = self.flow(before, known)
                log_q = log_q - log_determinant
            states.append(before)
        z = th.stack(states, 1)
        return Drawn(z, model.log_prior(z, u), log_q)


class NoisePosterior(nn.Module):
    """q(w_t | z_{t-1}, x, u) of the noise that the states follow from, as in DVBF (Karl et al. 2017); z_0 by itself.

    :param encoder: of the sequence
    :param z_dim: dimension d of a state, and of the noise
    :param hidden: widths of the network
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.first = nn.Sequential(*create_mlp(encoder.out_features, 2 * z_dim, list(hidden), nn.Tanh))
        self.network = nn.Sequential(*create_mlp(encoder.out_features + z_dim, 2 * z_dim, list(hidden), nn.Tanh))

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> Drawn:
        context = self.encoder(x, u)
        z, log_q = _draw(*_moments(self.first(context[:, 0])))
        log_prior, states = model.log_first(z), [z]
        for t in range(u.shape[1]):
            w, log_density = _draw(*_moments(self.network(th.cat([context[:, t + 1], z], -1))))
            log_prior, log_q = log_prior + standard_normal_log_density(w), log_q + log_density
            z = model.following(z, u[:, t], w)
            states.append(z)
        return Drawn(th.stack(states, 1), log_prior, log_q)


class InitialStatePosterior(nn.Module):
    """q(z_0 | x, u); the other states follow from it without noise, in the model as in the posterior.

    One draw for a trajectory, and no log determinant over time: the path is no random variable of its own. The bound is
    that of the model without noise.

    :param encoder: of the sequence
    :param z_dim: dimension d of a state
    :param hidden: widths of the network
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.first = nn.Sequential(*create_mlp(encoder.out_features, 2 * z_dim, list(hidden), nn.Tanh))

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> Drawn:
        z, log_q = _draw(*_moments(self.first(self.encoder(x, u)[:, 0])))
        log_prior, states = model.log_first(z), [z]
        for control in u.unbind(1):
            z = model.following(z, control, th.zeros_like(z))
            states.append(z)
        return Drawn(th.stack(states, 1), log_prior, log_q)


def _moments(raw: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    mean, log_std = raw.chunk(2, -1)
    return mean, log_std.clamp(_LEAST_LOG_STD, _GREATEST_LOG_STD)


def _draw(mean: th.Tensor, log_std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    x = mean + log_std.exp() * th.randn_like(mean)
    return x, normal_log_density(x, mean, log_std)
