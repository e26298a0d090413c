"""Posteriors over the states of a sequence, which return samples with their log-densities."""

import torch as th
from stable_baselines3.common.torch_layers import create_mlp
from torch import nn

from ardae_rl.common.checks import check_count
from ardae_rl.common.gaussians import normal_log_density, standard_normal_log_density
from ardae_rl.dvbf.elbo import PosteriorSample, StateSpaceModel
from ardae_rl.dvbf.flows import FlowSequence, TrajectoryFlow

LOG_STD_MIN, LOG_STD_MAX = -7.0, 3.0


class SequenceEncoder(nn.Module):
    """Encodes, for each step, the past (or all) of a sequence of observations and controls.

    :param obs_dim: Dimension of x.
    :param act_dim: Dimension of u.
    :param hidden: Width of the recurrent network of each direction.
    :param smoothing: Whether the encoding of a step also depends on later steps, not only on those up to it.
    """

    def __init__(self, obs_dim: int, act_dim: int, hidden: int = 64, smoothing: bool = True) -> None:
        super().__init__()
        for name, value in {"obs_dim": obs_dim, "act_dim": act_dim, "hidden": hidden}.items():
            check_count(name, value)
        self.smoothing = smoothing
        # u_t acts after x_t, so the forward network pairs x_t with u_{t-1}, and the backward network pairs it with u_t
        self.forwards = nn.GRU(obs_dim + act_dim, hidden, batch_first=True)
        self.backwards = nn.GRU(obs_dim + act_dim, hidden, batch_first=True) if smoothing else None
        self.out_features = hidden * (2 if smoothing else 1)

    def forward(self, x: th.Tensor, u: th.Tensor) -> th.Tensor:
        """Return codes (batch, T + 1, out_features), given x (batch, T + 1, obs_dim) and u (batch, T, act_dim)."""
        no_control = u.new_zeros(len(u), 1, u.shape[-1])
        past, _ = self.forwards(th.cat([x, th.cat([no_control, u], 1)], -1))
        if self.backwards is None:
            return past
        future, _ = self.backwards(th.cat([x, th.cat([u, no_control], 1)], -1).flip(1))
        return th.cat([past, future.flip(1)], -1)


class TrajectoryIAFPosterior(nn.Module):
    """Samples all states at once, by flows that transform the noise of the whole trajectory (Kingma et al. 2016).

    :param encoder: Encoder of the sequence.
    :param z_dim: Dimension d of a state.
    :param n_flows: Number of flows, see :class:`~ardae_rl.dvbf.flows.TrajectoryFlow`.
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, n_flows: int = 2) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.moments = nn.Linear(encoder.out_features, 2 * z_dim)
        self.flow = TrajectoryFlow(n_flows, z_dim, encoder.out_features)

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        context = self.encoder(x, u)
        noise = th.randn(*x.shape[:2], self.z_dim, dtype=x.dtype, device=x.device)
        correlated, log_determinant = self.flow(noise, context)
        mean, log_std = _moments(self.moments(context))
        z = mean + log_std.exp() * correlated
        log_q = standard_normal_log_density(noise).sum(1) - log_determinant - log_std.sum((1, 2))
        return PosteriorSample(z, model.log_prior(z, u), log_q)


class StepPosterior(nn.Module):
    """Samples the states one after another from q(z_t | z_{t-1}, x, u), a Gaussian optionally followed by flows.

    With a smoothing encoder this has the form of the true posterior, whose factors are p(z_t | z_{t-1}, x_{t:T}).

    :param encoder: Encoder of the sequence, filtering or smoothing.
    :param z_dim: Dimension d of a state.
    :param n_flows: Number of flows after the Gaussian; 0 for none.
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int, n_flows: int = 0) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.network = _network(encoder.out_features + z_dim, z_dim)
        self.flow = FlowSequence(n_flows, z_dim, encoder.out_features) if n_flows else None

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        context = self.encoder(x, u)
        previous, log_q, states = x.new_zeros(len(x), self.z_dim), x.new_zeros(len(x)), []
        for code in context.unbind(1):
            mean, log_std = _moments(self.network(th.cat([code, previous], -1)))
            noise = th.randn_like(mean)
            previous = mean + log_std.exp() * noise
            log_q = log_q + standard_normal_log_density(noise) - log_std.sum(-1)
            if self.flow is not None:
                previous, log_determinant = self.flow(previous, code)
                log_q = log_q - log_determinant
            states.append(previous)
        z = th.stack(states, 1)
        return PosteriorSample(z, model.log_prior(z, u), log_q)


class NoisePosterior(nn.Module):
    """Samples the process noise from q(w_t | z_{t-1}, x, u), as in DVBF (Karl et al. 2017), and z_0 from q(z_0 | x, u).

    :param encoder: Encoder of the sequence.
    :param z_dim: Dimension d of a state and of the noise.
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.first = _network(encoder.out_features, z_dim)
        self.network = _network(encoder.out_features + z_dim, z_dim)

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        context = self.encoder(x, u)
        z, log_q = _draw(*_moments(self.first(context[:, 0])))
        log_prior, states = model.log_prob_initial(z), [z]
        for t in range(u.shape[1]):
            w, log_density = _draw(*_moments(self.network(th.cat([context[:, t + 1], z], -1))))
            log_prior, log_q = log_prior + standard_normal_log_density(w), log_q + log_density
            z = model.next_state(z, u[:, t], w)
            states.append(z)
        return PosteriorSample(th.stack(states, 1), log_prior, log_q)


class InitialStatePosterior(nn.Module):
    """Samples z_0 from q(z_0 | x, u); the later states follow deterministically.

    The trajectory is a function of z_0, so that its density needs no log-determinants over time. The bound is that of
    the model without process noise.

    :param encoder: Encoder of the sequence.
    :param z_dim: Dimension d of a state.
    """

    def __init__(self, encoder: SequenceEncoder, z_dim: int) -> None:
        super().__init__()
        self.encoder, self.z_dim = encoder, z_dim
        self.first = _network(encoder.out_features, z_dim)

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        z, log_q = _draw(*_moments(self.first(self.encoder(x, u)[:, 0])))
        log_prior, states = model.log_prob_initial(z), [z]
        for control in u.unbind(1):
            z = model.next_state(z, control, th.zeros_like(z))
            states.append(z)
        return PosteriorSample(th.stack(states, 1), log_prior, log_q)


def _network(n_inputs: int, z_dim: int) -> nn.Sequential:
    """Return a network from codes to the moments of a Gaussian, see :func:`_moments`."""
    return nn.Sequential(*create_mlp(n_inputs, 2 * z_dim, [64], nn.Tanh))


def _moments(raw: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    mean, log_std = raw.chunk(2, -1)
    return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)


def _draw(mean: th.Tensor, log_std: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    x = mean + log_std.exp() * th.randn_like(mean)
    return x, normal_log_density(x, mean, log_std)
