"""Base classes of SAC policies with custom actors: saving, features extractors, densities of actions."""

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar, cast

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from ardae_rl.common.activations import activation_class
from ardae_rl.common.checks import check_count, check_widths
from ardae_rl.common.critics import make_critics
from ardae_rl.common.queries import FiniteObservations, query_actions, query_observations
from ardae_rl.common.squashed import log_half_range, pre_tanh_actions

Init = TypeVar("Init", bound=Callable[..., None])


def record_arguments(init: Init) -> Init:
    """Decorate a constructor so that it keeps its arguments in ``constructor_arguments``, by name and with defaults.

    A saved policy is rebuilt from them, so an argument of a policy or actor appears in its signature alone. They are
    recorded before the constructor's first line, which may change what is saved.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        if "constructor_arguments" not in self.__dict__:  # a subclass's constructor has recorded its own
            try:
                bound = signature.bind(self, *args, **kwargs)
            except TypeError as error:  # its message does not name the class
                raise TypeError(f"{type(self).__name__}.__init__() {error}") from None
            bound.apply_defaults()
            _, *arguments = bound.arguments.items()
            self.constructor_arguments = {}
            for name, value in arguments:
                by_name = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                self.constructor_arguments |= value if by_name else {name: value}
        init(self, *args, **kwargs)

    return cast(Init, wrapper)


class SquashedActor(BasePolicy):
    """Base of actors whose actions are tanh of unbounded ones; decorate constructors with :func:`record_arguments`.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param features_extractor: Network that extracts features from observations.
    :param normalize_images: Whether to divide images by 255.
    """

    action_space: spaces.Box
    constructor_arguments: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        features_extractor: BaseFeaturesExtractor,
        normalize_images: bool = True,
    ):
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
            squash_output=True,
        )
        self.action_dim = get_action_dim(action_space)

    @abstractmethod
    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """Return actions in [-1, 1], shape (batch, action_dim)."""

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return self(observation, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return dict(self.constructor_arguments)


def check_no_sde(use_sde: bool) -> None:
    """Check the argument that SB3's SAC adds to ``policy_kwargs``.

    :raises ValueError: For state-dependent exploration.
    """
    if use_sde:
        raise ValueError("`use_sde` must be False, because the actor has no exploration matrix, got True")


@contextmanager
def evaluation_mode(policy: BasePolicy) -> Iterator[None]:
    """Put a policy into evaluation mode within the block, as ``predict`` does: no dropout, no statistics of batches."""
    training = policy.training
    policy.set_training_mode(False)
    try:
        yield
    finally:
        policy.set_training_mode(training)


class NoTargets(nn.Module):
    """Placeholder for the target critics of a kind of critics that has none."""

    def forward(self, *args: Any) -> Any:
        raise RuntimeError("these critics have no target networks")


class SquashedPolicy(FiniteObservations, SACPolicy):
    """Base of policies that can evaluate the density of their actions, with an ``actor_class`` and a choice of critics.

    Arguments that are not listed here are passed to the actor.

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule of actor and critics.
    :param critic: Kind of the critics: "mlp" (SB3's), "simba" (:class:`~ardae_rl.common.critics.SimbaCritics`) or
        "crossq" (:class:`~ardae_rl.common.critics.CrossQCritics`).
    :param critic_kwargs: Arguments of that kind's class.
    :param net_arch: Widths of the hidden layers of actor and critics, or ``dict(pi=[...], qf=[...])``. None chooses two
        layers of 256 for the actor, and the kind's own widths for the critics.
    :param activation_fn: Activation function of the critics: a class, or a name such as "relu".
    :param actor_activation_fn: Activation function of the actor. None chooses that of the critics.
    :param features_extractor_class: Class of the features extractor. None chooses the policy's default.
    :param features_extractor_kwargs: Arguments of the features extractor.
    :param normalize_images: Whether to divide images by 255.
    :param optimizer_class: Optimizer of actor and critics.
    :param optimizer_kwargs: Arguments of the optimizer, except the learning rate. For Adam and AdamW, None chooses the
        defaults of policy and critics.
    :param n_critics: Number of critics.
    :param share_features_extractor: Whether the critics use the actor's features extractor.
    :param actor_kwargs: Arguments of the actor.
    """

    default_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    default_adam_kwargs: ClassVar[dict[str, Any]] = {}
    actor_class: ClassVar[type[SquashedActor]]
    constructor_arguments: dict[str, Any]

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        critic: str = "mlp",
        critic_kwargs: dict[str, Any] | None = None,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: str | type[nn.Module] = nn.ReLU,
        actor_activation_fn: str | type[nn.Module] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
        **actor_kwargs: Any,
    ):
        check_count("n_critics", n_critics)
        for part in net_arch.values() if isinstance(net_arch, dict) else [net_arch or []]:
            check_widths("net_arch", part)
        activation_fn = activation_class("activation_fn", activation_fn)
        actor_activation_fn = activation_class("actor_activation_fn", actor_activation_fn or activation_fn)
        self.constructor_arguments["lr_schedule"] = self._dummy_schedule  # no schedule is needed to load a policy alone
        self.critics = make_critics(critic, critic_kwargs)
        if net_arch is None:
            net_arch = {"pi": [256, 256], "qf": list(self.critics.widths)}
        if optimizer_kwargs is None and issubclass(optimizer_class, th.optim.Adam | th.optim.AdamW):
            optimizer_kwargs = self.default_adam_kwargs | self.critics.adam_kwargs
        # For make_actor, which the base class's constructor calls
        self.own_actor_kwargs = {"activation_fn": actor_activation_fn} | actor_kwargs
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

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if not self.critics.has_targets:
            self.critic_target = NoTargets()  # type: ignore[assignment]

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        made = super().make_critic(features_extractor)
        widths = cast(list[int], self.critic_kwargs["net_arch"])
        return self.critics.with_networks(made, widths, self.activation_fn).to(self.device)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        kwargs = self._update_features_extractor(self.net_args | self.own_actor_kwargs, features_extractor)
        return self.actor_class(**kwargs).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return dict(self.constructor_arguments)

    @abstractmethod
    def squashed_log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        """Return the log-density of actions in [-1, 1], shape (batch,).

        :param obs: Observations as returned by ``obs_to_tensor``.
        :param pre_tanh: Actions before tanh, shape (batch, action_dim).
        """

    @abstractmethod
    def sample_log_prob(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        """Sample actions and return their log-densities in [-1, 1], shape (batch, n_samples)."""

    @th.no_grad()
    def log_prob(self, obs: Any, actions: Any) -> th.Tensor:
        """Return ln π(a | s), a density in the environment's units of action, shape (batch,).

        :param obs: Observations as the environment returns them or as ``obs_to_tensor`` returns them. Without a batch
            dimension, the result has none either.
        :param actions: Actions in the environment's range, an array or tensor of shape (batch, action_dim).
        :raises ValueError: If the policy has no density, and for wrong shapes or values that are not finite.
        """
        obs, batched = query_observations(self, obs)
        n = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        space = self.actor.action_space
        pre_tanh = pre_tanh_actions(query_actions(actions, space, n, self.device), space)
        with evaluation_mode(self):
            result = self.squashed_log_prob(obs, pre_tanh) - log_half_range(space, self.device)
        return result if batched else result[0]

    @th.no_grad()
    def entropy(self, obs: Any, n_samples: int = 64) -> th.Tensor:
        """Estimate the entropy of π(· | s) in nats, in the environment's units of action, shape (batch,).

        :param obs: Observations, see :meth:`log_prob`.
        :param n_samples: Number of actions to sample for each observation.
        :raises ValueError: If the policy has no density, and for wrong shapes or values that are not finite.
        """
        check_count("n_samples", n_samples)
        obs, batched = query_observations(self, obs)
        with evaluation_mode(self):
            result = log_half_range(self.actor.action_space, self.device) - self.sample_log_prob(obs, n_samples).mean(1)
        return result if batched else result[0]
