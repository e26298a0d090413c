"""Kinds of critics: their networks, and how a gradient step uses them."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs, ReplayBufferSamples
from torch import nn

from ardae_rl.common.checks import check_between, check_choice, check_count, check_keys, check_positive
from ardae_rl.common.critics.networks import renormalized_network, residual_network
from ardae_rl.common.critics.statistics import batch_statistics, frozen_statistics

CriticModule = TypeVar("CriticModule", bound=nn.Module)


@dataclass(frozen=True)
class MLPCritics:
    """SB3's critics: MLPs with slowly updated target networks.

    Other kinds override what differs. The critics themselves are an SB3 module from ``policy.make_critic``.

    Example:

    >>> from ardae_rl import SACGaussian
    >>> SACGaussian("MlpPolicy", "Pendulum-v1").policy.critics
    MLPCritics()
    """

    # Whether target networks give Q(s', a'); otherwise the critics themselves do
    has_targets: ClassVar[bool] = True
    # Number of gradient steps on the critics per gradient step on everything else
    policy_delay: ClassVar[int] = 1
    widths: ClassVar[tuple[int, ...]] = (256, 256)
    # Default arguments of Adam, for actor and critics
    adam_kwargs: ClassVar[dict[str, Any]] = {}

    def network(
        self, n_observation: int, n_in: int, n_out: int, widths: list[int], activation_fn: type[nn.Module]
    ) -> nn.Module | None:
        """Return a network to use in place of SB3's MLP, or None to keep the MLP.

        :param n_observation: Number of inputs that are observations or their features; actions follow.
        :param n_in: Number of inputs.
        :param n_out: Number of outputs.
        :param widths: Widths of the hidden layers.
        :param activation_fn: Activation function.
        """
        return None

    def with_networks(self, critic: CriticModule, widths: list[int], activation_fn: type[nn.Module]) -> CriticModule:
        """Replace the networks of SB3's or sb3-contrib's critics, in place, and return the critics."""
        networks: Any = critic.q_networks
        for index, perceptron in enumerate(networks):
            linear = [layer for layer in perceptron if isinstance(layer, nn.Linear)]
            n_in, n_out = linear[0].in_features, linear[-1].out_features
            n_observation: Any = critic.features_extractor.features_dim  # type: ignore[union-attr]
            network = self.network(n_observation, n_in, n_out, widths, activation_fn)
            if network is not None:
                networks[index] = network
                setattr(critic, f"qf{index}", network)
        return critic

    def updates_actor(self, n_updates: int) -> bool:
        """Return whether the gradient step with this number, counted from 1, updates actor and temperature as well."""
        return n_updates % self.policy_delay == 0

    def paired_values(
        self, critic: nn.Module, critic_target: nn.Module, data: ReplayBufferSamples, next_actions: th.Tensor
    ) -> tuple[tuple[th.Tensor, ...], th.Tensor]:
        """Return Q(s, a) of each critic, and the smallest Q(s', a') without gradient, all of shape (batch, 1).

        :param critic: The critics.
        :param critic_target: The target critics.
        :param data: Transitions from the replay buffer.
        :param next_actions: a' in [-1, 1], shape (batch, action_dim).
        """
        with th.no_grad():
            next_values = th.cat(critic_target(data.next_observations, next_actions), dim=1)
        return critic(data.observations, data.actions), next_values.min(dim=1, keepdim=True)[0]

    def actor_values(self, critic: nn.Module, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Return the smallest Q(s, a), which the actor maximizes, shape (batch, 1); it changes no statistics."""
        with frozen_statistics(critic):
            return th.cat(critic(observations, actions), dim=1).min(dim=1, keepdim=True)[0]


@dataclass(frozen=True)
class SimbaCritics(MLPCritics):
    """SimBa's residual critics with layer normalization and normalized observations, with target networks.

    Reference: Lee et al. (2025), https://arxiv.org/abs/2410.09754. The widths of ``net_arch`` are those of the residual
    stream, once per block; a block is four times as wide inside. The default, two blocks of 128, is narrower than
    theirs (512), and meant for CPUs. The actor and its observations are unchanged.

    Example:

    >>> from ardae_rl import SACGaussian
    >>> policy_kwargs = {"critic": "simba", "net_arch": {"pi": [64, 64], "qf": [64]}}  # one block
    >>> model = SACGaussian("MlpPolicy", "Pendulum-v1", policy_kwargs=policy_kwargs)
    """

    widths: ClassVar[tuple[int, ...]] = (128, 128)

    def network(
        self, n_observation: int, n_in: int, n_out: int, widths: list[int], activation_fn: type[nn.Module]
    ) -> nn.Module:
        return residual_network(n_observation, n_in, n_out, widths)


@dataclass(frozen=True)
class CrossQCritics(MLPCritics):
    """CrossQ's critics: batch renormalization instead of target networks.

    Reference: Bhatt et al. (2024), https://openreview.net/forum?id=PczQtTsTIX. A single forward pass of (s, a) and
    (s', a') normalizes both by their common statistics. The actor's loss uses the running statistics. Actor,
    temperature and SACARDAE's score estimator are updated at every third gradient step, and Adam's β₁ is 0.5. The
    authors use ``learning_rate=1e-3``. The default, two layers of 256, is narrower than theirs (2048) and sb3-contrib's
    (1024), and meant for CPUs. The actor is unchanged, without batch renormalization.

    Example:

    >>> from ardae_rl import SACGaussian
    >>> policy_kwargs = {"critic": "crossq", "critic_kwargs": {"policy_delay": 2}}
    >>> model = SACGaussian("MlpPolicy", "Pendulum-v1", learning_rate=1e-3, policy_kwargs=policy_kwargs)

    :param policy_delay: Number of gradient steps on the critics per step on actor, temperature and score estimator.
    :param momentum: Weight of a batch in the running statistics.
    :param eps: Number that is added to the variance.
    :param warmup_steps: Number of gradient steps with plain batch normalization, after the first one.
    :raises ValueError: For an argument out of its range.
    """

    has_targets: ClassVar[bool] = False
    adam_kwargs: ClassVar[dict[str, Any]] = {"betas": (0.5, 0.999)}

    policy_delay: int = 3  # type: ignore[misc]
    momentum: float = 0.01
    eps: float = 1e-3
    warmup_steps: int = 100_000

    def __post_init__(self) -> None:
        check_count("policy_delay", self.policy_delay)
        check_between("momentum", self.momentum, 0, 1)
        check_positive("eps", self.eps)
        check_count("warmup_steps", self.warmup_steps, 0)

    def network(
        self, n_observation: int, n_in: int, n_out: int, widths: list[int], activation_fn: type[nn.Module]
    ) -> nn.Module:
        return renormalized_network(n_in, n_out, widths, activation_fn, self.momentum, self.eps, self.warmup_steps)

    def paired_values(
        self, critic: nn.Module, critic_target: nn.Module, data: ReplayBufferSamples, next_actions: th.Tensor
    ) -> tuple[tuple[th.Tensor, ...], th.Tensor]:
        observations = _concatenated(data.observations, data.next_observations)
        with batch_statistics(critic):
            values = critic(observations, th.cat([data.actions, next_actions]))
        n = len(next_actions)
        next_values = th.cat([value[n:].detach() for value in values], dim=1)
        return tuple(value[:n] for value in values), next_values.min(dim=1, keepdim=True)[0]


CRITICS: dict[str, type[MLPCritics]] = {"mlp": MLPCritics, "simba": SimbaCritics, "crossq": CrossQCritics}


def make_critics(critic: str, critic_kwargs: dict[str, Any] | None = None) -> MLPCritics:
    """Return a kind of critics.

    Example:

    >>> from ardae_rl.common.critics import make_critics
    >>> type(make_critics("crossq")).__name__
    'CrossQCritics'

    :param critic: "mlp", "simba" or "crossq".
    :param critic_kwargs: Arguments of :class:`CrossQCritics`; the others have none.
    :raises ValueError: For an unknown kind or argument.
    """
    check_choice("critic", critic, tuple(CRITICS))
    kind, arguments = CRITICS[critic], critic_kwargs or {}
    names = [field.name for field in fields(kind)]
    if arguments and not names:
        raise ValueError(f"`critic_kwargs` must be empty for critic={critic!r}, got {arguments}")
    check_keys("critic_kwargs", arguments, names)
    return kind(**arguments)


def _concatenated(first: PyTorchObs, second: PyTorchObs) -> PyTorchObs:
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return {key: th.cat([value, second[key]]) for key, value in first.items()}
    assert isinstance(second, th.Tensor)
    return th.cat([first, second])
