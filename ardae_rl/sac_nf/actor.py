"""The normalizing-flow actor a = tanh F(μ(s) + σ(s) ε; s)."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import nn
from torch.distributions import Normal

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.policies import SquashedActor, record_arguments
from ardae_rl.common.squashed import log_tanh_slope, saturation_excess
from ardae_rl.sac_nf.flows import FLOWS, make_flow


class FlowActor(SquashedActor):
    """A state-dependent Gaussian transformed by a normalizing flow and tanh, with an exact log-density.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param net_arch: Widths of the hidden layers of μ and ln σ.
    :param features_extractor: Network that extracts features from observations.
    :param features_dim: Number of features.
    :param activation_fn: Activation function of the hidden layers.
    :param flow: Kind of the flow: "radial" or "planar", which are the same in all states, or "autoregressive" or
        "coupling", whose parameters depend on the state and which need the extra ``flows``.
    :param n_flows: Number of flows, applied one after the other.
    :param state_dependent_std: Whether σ depends on the state.
    :param normalize_images: Whether to divide images by 255.
    :raises ValueError: For an unknown flow, or ``n_flows`` below 1.
    """

    @record_arguments
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        flow: str = "radial",
        n_flows: int = 3,
        state_dependent_std: bool = True,
        normalize_images: bool = True,
    ):
        check_choice("flow", flow, FLOWS)
        check_count("n_flows", n_flows)
        super().__init__(observation_space, action_space, features_extractor, normalize_images)
        self.state_dependent_std = state_dependent_std
        latent_dim = net_arch[-1] if net_arch else features_dim
        self.latent_pi = nn.Sequential(*create_mlp(features_dim, -1, net_arch, activation_fn))
        self.mu = nn.Linear(latent_dim, self.action_dim)
        if state_dependent_std:
            self.log_std = nn.Linear(latent_dim, self.action_dim)
        else:
            self.log_std_value = nn.Parameter(th.zeros(self.action_dim))
        self.flow = make_flow(flow, n_flows, self.action_dim, latent_dim)

    def base(self, obs: PyTorchObs) -> tuple[Normal, th.Tensor]:
        """Return the Gaussian before the flow, shape (batch, action_dim), and the flow's context, (batch, width)."""
        context = self.latent_pi(self.extract_features(obs, self.features_extractor))
        log_std = self.log_std(context) if self.state_dependent_std else self.log_std_value.expand(len(context), -1)
        std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()
        return Normal(self.mu(context), std, validate_args=False), context

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Return actions in [-1, 1], shape (batch, action_dim).

        The deterministic action is tanh F(μ(s); s), as in the evaluations of Mazoure et al. (2019).
        """
        base, context = self.base(obs)
        x, _ = self.flow(base.mean if deterministic else base.rsample(), context)
        return th.tanh(x)

    def sample(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Sample actions before tanh, shape (batch, action_dim), and return their log-densities in [-1, 1], (batch,).

        Both are differentiable.
        """
        base, context = self.base(obs)
        z = base.rsample()
        x, log_det = self.flow(z, context)
        return x, base.log_prob(z).sum(-1) - log_det - log_tanh_slope(x)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Sample actions in [-1, 1], shape (batch, action_dim), with log-densities, (batch,); both differentiable.

        Near the bounds, the values of the log-densities are clipped, but not their gradients.
        """
        x, log_prob = self.sample(obs)
        return th.tanh(x), log_prob - saturation_excess(x.detach())

    def log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """Return the log-density of actions in [-1, 1], shape (batch,).

        :param obs: Observations as returned by ``obs_to_tensor``.
        :param pre_tanh: Actions before tanh, shape (batch, action_dim).
        """
        base, context = self.base(obs)
        z, log_det = self.flow.inverse(pre_tanh, context)
        return base.log_prob(z).sum(-1) + log_det - log_tanh_slope(pre_tanh)
