"""The interface of discriminators, and the discriminator of single transitions."""

import math
from abc import abstractmethod
from collections import deque
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch as th
from gymnasium.spaces.utils import flatdim
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from ardae_rl.common.checks import check_count, check_number
from ardae_rl.irl.generator import acts_randomly
from ardae_rl.irl.log_density import policy_log_prob
from ardae_rl.irl.mixture import PolicyMixture
from ardae_rl.irl.reward_nets import RewardNet
from ardae_rl.irl.transitions import Transitions, concatenate, select
from ardae_rl.score.losses import contrastive_loss

Data = TypeVar("Data")
Loss = tuple[th.Tensor, dict[str, th.Tensor]]


class Discriminator(nn.Module, Generic[Data]):
    """Classifier of demonstrations and generator samples, whose logits define a reward.

    It keeps the samples of the generator that it is trained on. Methods that need the density of the generator's policy
    take the generator as an argument. ``Data`` is the form in which updates draw from demonstrations and samples.

    The trainer calls the constructor of a subclass with the observation space, the action space and the keyword
    arguments ``gamma``, ``reward_kwargs``, ``batch_size`` and ``n_envs``, besides its ``discriminator_kwargs``.

    :param reward_net: Network that the logits are made of.
    :param batch_size: Number of demonstrations, and of generator samples, per update.
    :param action_margin: Width of the strip next to the action bounds, as a fraction of the half-range, in which reward
        and ln π are constant, because the density of a squashed policy is zero or infinite at the bounds.
    :raises ValueError: For arguments out of range.
    """

    needs_density: ClassVar[bool] = True  # of the generator's policy
    reward_net: RewardNet

    def __init__(self, reward_net: RewardNet, batch_size: int, action_margin: float = 0.01) -> None:
        super().__init__()
        check_count("demo_batch_size", batch_size)
        check_number("action_margin", action_margin)
        if not 0 < action_margin < 1:
            raise ValueError(f"`action_margin` must be between 0 and 1, got {action_margin!r}")
        self.reward_net, self.batch_size, self.action_margin = reward_net, batch_size, action_margin
        if self.needs_density:
            reward_net.action_limit.fill_(1 - action_margin)

    @abstractmethod
    def reward(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        """Return the reward that the generator maximizes, shape (n,), without gradient."""

    @abstractmethod
    def record(self, transitions: Transitions, dones: NDArray[np.bool_], generator: BaseAlgorithm) -> None:
        """Store one step of the generator in each environment; ``dones`` marks the ends of episodes."""

    def start_episodes(self) -> None:
        """Begin new episodes in all environments, although the previous ones may not have ended."""

    @abstractmethod
    def is_ready(self, disc_interval: int) -> bool:
        """Return whether enough samples are stored for a round of updates."""

    @abstractmethod
    def training_data(self, demos: list[Transitions], generator: BaseAlgorithm) -> tuple[Data, Data]:
        """Return the demonstrations and the stored samples as the updates of one round draw from them.

        :param demos: Transitions of each demonstrated episode.
        :param generator: Algorithm whose policy does not change during the round.
        """

    @abstractmethod
    def loss(self, demos: Data, samples: Data, generator: BaseAlgorithm) -> Loss:
        """Return the loss of one update on a random batch, and metrics to log."""

    def log_prob(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        """Return ln π of the generator's current policy, shape (n,)."""
        return policy_log_prob(generator, transitions.observations, transitions.actions, self.action_margin)

    def component_log_probs(
        self, mixture: PolicyMixture, transitions: Transitions, generator: BaseAlgorithm, name: str | None = None
    ) -> th.Tensor:
        """Return ln π of each component of a mixture of past policies, shape (n_components, n).

        :param name: Name of transitions that do not change, whose densities are computed once for each component.
        """
        n_actions = flatdim(generator.action_space)  # uniform actions: a box is rescaled to [-1, 1]
        uniform = th.full((len(transitions.actions),), -n_actions * math.log(2), device=transitions.actions.device)
        return mixture.log_probs(generator.policy, lambda: self.log_prob(transitions, generator), uniform, name)


class Samples(NamedTuple):
    """Transitions, and ln q of what made the generator's samples, shape (n,)."""

    transitions: Transitions
    log_q: th.Tensor


def without_density(transitions: Transitions) -> Samples:
    """Return transitions for a discriminator that needs no density."""
    return Samples(transitions, th.zeros(len(transitions.actions), device=transitions.actions.device))


class TransitionDiscriminator(Discriminator[Samples]):
    """Discriminates single demonstration transitions from the generator's most recent ones.

    :param reward_net: Network that the logits are made of.
    :param batch_size: Number of demonstration transitions, and of generator transitions, per update.
    :param n_envs: Number of environments that the generator acts in.
    :param n_recent: Number of most recent generator transitions to train on.
    :param action_margin: Width of the strip next to the action bounds, as a fraction of the half-range, in which reward
        and ln π are constant, because the density of a squashed policy is zero or infinite at the bounds.
    :raises ValueError: For arguments out of range.
    """

    def __init__(
        self, reward_net: RewardNet, batch_size: int, n_envs: int, n_recent: int = 2000, action_margin: float = 0.01
    ) -> None:
        super().__init__(reward_net, batch_size, action_margin)
        check_count("n_recent", n_recent)
        self.n_recent = n_recent
        self.recent: deque[Transitions] = deque(maxlen=max(1, n_recent // n_envs))
        self.mixture = PolicyMixture(n_envs * max(1, n_recent // n_envs))

    @abstractmethod
    def logits(self, transitions: Transitions, log_q: th.Tensor) -> th.Tensor:
        """Return logit D, shape (n,); positive values classify a transition as a demonstration.

        :param log_q: Log-density of what made the generator's samples, shape (n,).
        """

    def record(self, transitions: Transitions, dones: NDArray[np.bool_], generator: BaseAlgorithm) -> None:
        self.recent.append(transitions)
        self.mixture.add(len(transitions.actions), acts_randomly(generator))

    def is_ready(self, disc_interval: int) -> bool:
        return sum(len(step.actions) for step in self.recent) >= min(self.n_recent, disc_interval)

    def training_data(self, demos: list[Transitions], generator: BaseAlgorithm) -> tuple[Samples, Samples]:
        demo_transitions, recent = concatenate(demos), concatenate(list(self.recent))
        if not self.needs_density:
            return without_density(demo_transitions), without_density(recent)
        self.mixture.take_snapshot(generator.policy)
        return (
            Samples(demo_transitions, self.log_q(demo_transitions, generator, "demonstrations")),
            Samples(recent, self.log_q(recent, generator)),
        )

    def log_q(self, transitions: Transitions, generator: BaseAlgorithm, name: str | None = None) -> th.Tensor:
        """Return the log-density of what made the recent samples, shape (n,).

        :param name: Name of transitions that do not change.
        """
        log_probs = self.component_log_probs(self.mixture, transitions, generator, name)
        log_weights = th.tensor(self.mixture.log_weights, device=log_probs.device)
        return (log_probs + log_weights.unsqueeze(1)).logsumexp(0)

    def loss(self, demos: Samples, samples: Samples, generator: BaseAlgorithm) -> Loss:
        demo_logits = self.logits(*self._draw(demos))
        sample_logits = self.logits(*self._draw(samples))
        return contrastive_loss(demo_logits, sample_logits), accuracies(demo_logits, sample_logits)

    def _draw(self, samples: Samples) -> Samples:
        """Draw a batch with replacement."""
        actions = samples.transitions.actions
        index = th.randint(len(actions), (self.batch_size,), device=actions.device)
        return Samples(select(samples.transitions, index), samples.log_q[index])


def accuracies(demo_logits: th.Tensor, sample_logits: th.Tensor) -> dict[str, Any]:
    """Return the fractions of demonstrations and of samples that are classified correctly."""
    return {
        "demo_accuracy": (demo_logits > 0).float().mean(),
        "sample_accuracy": (sample_logits < 0).float().mean(),
    }
