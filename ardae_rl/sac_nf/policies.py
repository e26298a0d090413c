"""The normalizing-flow actor a = tanh F(μ(s) + σ(s) ε; s), and the policies that hold it with the critics."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, SACPolicy
from torch import nn
from torch.distributions import Normal

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.common.squashed import log_half_range, log_tanh_slope, pre_tanh_actions
from ardae_rl.sac_nf.flows import FLOWS, make_flow


class FlowActor(BasePolicy):
    """A Gaussian that depends on the state, sent through a flow and tanh: its log density is exact.

    :param net_arch: widths of the hidden layers behind μ and ln σ
    :param features_extractor: network that extracts the features
    :param features_dim: number of features
    :param activation_fn: their activation function
    :param flow: "radial", "planar" (the same at all states), "autoregressive" or "coupling" (their parameters depend on
        the state)
    :param n_flows: how many of them, one after the other
    :param state_dependent_std: whether σ depends on the state
    :param normalize_images: whether to divide images by 255
    """

    action_space: spaces.Box

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
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.activation_fn = activation_fn
        self.flow_kind = flow
        self.n_flows = n_flows
        self.state_dependent_std = state_dependent_std
        action_dim = get_action_dim(action_space)
        latent_dim = net_arch[-1] if net_arch else features_dim
        self.latent_pi = nn.Sequential(*create_mlp(features_dim, -1, net_arch, activation_fn))
        self.mu = nn.Linear(latent_dim, action_dim)
        if state_dependent_std:
            self.log_std = nn.Linear(latent_dim, action_dim)
        else:
            self.log_std_value = nn.Parameter(th.zeros(action_dim))
        self.flow = make_flow(flow, n_flows, action_dim, latent_dim)

    def base(self, obs: PyTorchObs) -> tuple[Normal, th.Tensor]:
        """The Gaussian before the flow, (batch, action_dim), and the flow's context, (batch, width)."""
        context = self.latent_pi(self.extract_features(obs, self.features_extractor))
        log_std = self.log_std(context) if self.state_dependent_std else self.log_std_value.expand(len(context), -1)
        std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX).exp()
        return Normal(self.mu(context), std, validate_args=False), context

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Actions in [-1, 1], (batch, action_dim); tanh F(μ(s); s) if deterministic, as Mazoure et al. evaluate."""
        base, context = self.base(obs)
        x, _ = self.flow(base.mean if deterministic else base.rsample(), context)
        return th.tanh(x)

    def action_log_prob(self, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """Actions in [-1, 1], (batch, action_dim), and their log density there, (batch,), both with gradient."""
        base, context = self.base(obs)
        z = base.rsample()
        x, log_det = self.flow(z, context)
        return th.tanh(x), base.log_prob(z).sum(-1) - log_det - log_tanh_slope(x)

    def log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """ln of the density of actions in [-1, 1] at tanh of points (batch, action_dim); (batch,)."""
        base, context = self.base(obs)
        z, log_det = self.flow.inverse(pre_tanh, context)
        return base.log_prob(z).sum(-1) + log_det - log_tanh_slope(pre_tanh)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(
            net_arch=self.net_arch,
            features_extractor=self.features_extractor,
            features_dim=self.features_dim,
            activation_fn=self.activation_fn,
            flow=self.flow_kind,
            n_flows=self.n_flows,
            state_dependent_std=self.state_dependent_std,
        )
        return data


class SACNFPolicy(SACPolicy):
    """Flow actor and critics.

    :param observation_space: observation space
    :param action_space: action space
    :param lr_schedule: learning rate schedule
    :param net_arch: hidden layers of actor and critics, or ``dict(pi=[...], qf=[...])``
    :param activation_fn: activation function of both
    :param flow: "radial", "planar", "autoregressive" or "coupling"; the last two need the extra ``flows``
    :param n_flows: how many of them, one after the other
    :param state_dependent_std: whether the deviation of the Gaussian before the flow depends on the state
    :param use_sde: accepted as False alone, because SB3's SAC passes it on
    :param features_extractor_class: features extractor; None for the policy's own kind
    :param features_extractor_kwargs: its arguments
    :param normalize_images: whether to divide images by 255
    :param optimizer_class: optimizer of actor and critics
    :param optimizer_kwargs: its arguments, without the learning rate
    :param n_critics: number of critics
    :param share_features_extractor: whether the critics use the actor's features extractor
    :raises ValueError: for an unknown flow, no flows, or ``use_sde=True``
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    actor: FlowActor  # type: ignore[assignment]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        flow: str = "radial",
        n_flows: int = 3,
        state_dependent_std: bool = True,
        use_sde: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
    ):
        check_choice("flow", flow, FLOWS)
        check_count("n_flows", n_flows)
        if use_sde:
            raise ValueError("`use_sde` must be False, because a flow has no exploration matrix, got True")
        # Before the base class builds the networks
        self.flow_kwargs = {"flow": flow, "n_flows": n_flows, "state_dependent_std": state_dependent_std}
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=net_arch,
            activation_fn=activation_fn,
            features_extractor_class=features_extractor_class or self.default_features_extractor,
            features_extractor_kwargs=features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
            n_critics=n_critics,
            share_features_extractor=share_features_extractor,
        )

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> FlowActor:  # type: ignore[override]
        kwargs = self._update_features_extractor(self.net_args | self.flow_kwargs, features_extractor)
        return FlowActor(**kwargs).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("use_sde", "log_std_init", "use_expln", "clip_mean"):
            del data[name]
        return data | self.flow_kwargs | {"share_features_extractor": self.share_features_extractor}

    @th.no_grad()
    def log_prob(self, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Exact ln π(a | s), (batch,).

        :param obs: observations as ``obs_to_tensor`` gives them
        :param actions: in the environment's range, (batch, action_dim); densities are per unit of that range
        """
        pre_tanh = pre_tanh_actions(actions.to(self.device), self.actor.action_space)
        return self.actor.log_prob(obs, pre_tanh) - log_half_range(self.actor.action_space, self.device)

    @th.no_grad()
    def entropy(self, obs: PyTorchObs, n_samples: int = 64) -> th.Tensor:
        """Entropy of π(· | s) in nats from ``n_samples`` actions, per unit of the environment's range, (batch,).

        :param obs: observations as ``obs_to_tensor`` gives them
        """
        log_probs = [self.actor.action_log_prob(obs)[1] for _ in range(n_samples)]
        return log_half_range(self.actor.action_space, self.device) - th.stack(log_probs).mean(0)


MlpPolicy = SACNFPolicy


class CnnPolicy(SACNFPolicy):
    """:class:`SACNFPolicy` for images, through SB3's Nature CNN by default."""

    default_features_extractor = NatureCNN


class MultiInputPolicy(SACNFPolicy):
    """:class:`SACNFPolicy` for dictionary observations, through SB3's combined extractor by default."""

    default_features_extractor = CombinedExtractor
