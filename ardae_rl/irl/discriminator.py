"""The base class of discriminators, and discriminators of single transitions."""

from abc import abstractmethod
from collections import deque
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.her import HerReplayBuffer
from torch import nn

from ardae_rl.common.checks import check_choice, check_count, check_number
from ardae_rl.irl.generator import acts_randomly
from ardae_rl.irl.log_density import has_density, policy_log_prob, uniform_log_prob
from ardae_rl.irl.mixture import PolicyMixture
from ardae_rl.irl.regularization import Points, ProximalPenalty, Regularization
from ardae_rl.irl.reward_nets import BasicRewardNet, RewardNet
from ardae_rl.irl.transitions import Transitions, blocks, concatenate, select

Data = TypeVar("Data")
Loss = tuple[th.Tensor, dict[str, th.Tensor]]
SOURCES = ("recent", "replay")
_MIN_REWARD_STD = 1e-3
_SCALE_RATE = 0.05  # of the running average of the rewards' standard deviation


class Discriminator(nn.Module, Generic[Data]):
    """Classifier of demonstrations against generator samples, whose logits define a reward.

    It stores the generator samples that it is trained on. Methods that need the density of the generator's policy take
    the generator as an argument. ``Data`` is the type of the demonstrations and samples that updates draw from.

    The trainer calls the constructor of a subclass with the observation space, the action space and the keyword
    arguments ``gamma``, ``reward_kwargs``, ``batch_size`` and ``n_envs``, besides its ``discriminator_kwargs``.

    :param reward_net: Reward network, from which the logits are computed.
    :param batch_size: Number of demonstrations, and of generator samples, per update.
    :param action_margin: Width of the strip next to the action bounds, as a fraction of the half-range, in which reward
        and ln π are constant, because the density of a bounded policy is zero or infinite at the bounds.
    :raises ValueError: For arguments out of range.
    """

    needs_density: ClassVar[bool] = True  # whether the logits contain the density of the generator's policy
    reward_net: RewardNet

    def __init__(self, reward_net: RewardNet, batch_size: int, action_margin: float = 0.01) -> None:
        super().__init__()
        check_count("demo_batch_size", batch_size)
        check_number("action_margin", action_margin)
        if not 0 < action_margin < 1:
            raise ValueError(f"`action_margin` must be > 0 and < 1, got {action_margin!r}")
        self.reward_net, self.batch_size, self.action_margin = reward_net, batch_size, action_margin
        self.limit_actions()

    def limit_actions(self) -> None:
        """Clip the reward network's actions to the inner edge of the margin, if a density is needed."""
        if self.needs_density:
            self.reward_net.action_limit.fill_(1 - self.action_margin)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's parameter groups. The trainer's ``weight_decay`` applies to the first one."""
        return [{"params": list(self.parameters())}]

    def check_generator(self, generator: BaseAlgorithm) -> None:
        """Check that the discriminator can be trained on the generator's samples.

        :raises ValueError: If a density is needed and the generator's policy has none.
        """
        if self.needs_density and not has_density(generator):
            name = type(generator).__name__
            raise ValueError(f"`generator` must be an algorithm whose policy has a density, got {name}")

    def check_loaded_replay(self) -> None:
        """Check that the discriminator can be trained on a loaded replay buffer.

        :raises ValueError: If it needs the densities of the policies that filled the buffer.
        """

    @abstractmethod
    def reward(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        """Return the reward that the generator maximizes, shape (n,), without gradient."""

    @abstractmethod
    def record(self, transitions: Transitions, dones: NDArray[np.bool_], generator: BaseAlgorithm) -> None:
        """Store one step of the generator in each environment; ``dones`` marks the ends of episodes."""

    def start_episodes(self) -> None:
        """Start new episodes in all environments; unfinished ones are abandoned."""

    def is_ready(self, generator: BaseAlgorithm) -> bool:
        """Return whether there are samples to train on."""
        return True

    @abstractmethod
    def training_data(self, demos: list[Transitions], generator: BaseAlgorithm) -> tuple[Data, Data]:
        """Return the demonstrations and the stored samples from which the updates of one round draw batches.

        :param demos: Transitions of each demonstrated episode.
        :param generator: Algorithm whose policy does not change during the round.
        """

    def start_round(self) -> None:
        """Prepare for a round of updates."""

    def finish_round(self, demos: Data, samples: Data) -> dict[str, th.Tensor]:
        """Finish a round of updates, and return metrics to log."""
        return {}

    @abstractmethod
    def loss(self, demos: Data, samples: Data, generator: BaseAlgorithm) -> Loss:
        """Return the loss of one update on a random batch, and metrics to log."""

    def log_prob(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        """Return ln π of the generator's current policy, shape (n,).

        In an absorbing state, where actions have no effect, the policy is taken to be uniform. Otherwise, the value of
        terminating would depend on the arbitrary actions of the policy there.
        """
        return th.cat([self._log_prob(block, generator) for block in blocks(transitions)])

    def _log_prob(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        log_prob = policy_log_prob(generator, transitions.observations, transitions.actions, self.action_margin)
        is_absorbed = self.reward_net.absorbed(transitions.observations) > 0
        return th.where(is_absorbed, uniform_log_prob(generator), log_prob)

    def component_log_probs(
        self, mixture: PolicyMixture, transitions: Transitions, generator: BaseAlgorithm, name: str | None = None
    ) -> th.Tensor:
        """Return ln π of each component of a mixture of past policies, shape (n_components, n).

        :param name: Cache key for transitions that never change; their densities are computed once per component.
        """
        n, device = len(transitions.actions), transitions.actions.device
        uniform = th.full((n,), uniform_log_prob(generator), device=device)
        return mixture.log_probs(generator.policy, lambda: self.log_prob(transitions, generator), uniform, name)


class Samples(NamedTuple):
    """Transitions, and ln q of the policies that collected the generator's samples, shape (n,)."""

    transitions: Transitions
    log_q: th.Tensor


def without_density(transitions: Transitions) -> Samples:
    """Return transitions with ln q = 0, for a discriminator that needs no density."""
    return Samples(transitions, th.zeros(len(transitions.actions), device=transitions.actions.device))


class TransitionDiscriminator(Discriminator[Samples]):
    """Discriminates single demonstration transitions from the generator's, with logit D = reward - ln q.

    :param reward_net: Reward network, from which the logits are computed.
    :param batch_size: Number of demonstration transitions, and of generator transitions, per update.
    :param n_envs: Number of environments that the generator acts in.
    :param n_recent: Number of generator transitions that a round trains on.
    :param source: "recent" for the most recent transitions, "replay" for random ones from the replay buffer. ln q
        accounts only for transitions collected since the model was created or loaded.
    :param action_margin: Width of the strip next to the action bounds, as a fraction of the half-range, in which reward
        and ln π are constant, because the density of a bounded policy is zero or infinite at the bounds.
    :param regularization: Keyword arguments of :class:`~ardae_rl.irl.regularization.Regularization`.
    :raises ValueError: For arguments out of range.
    """

    reward_net: BasicRewardNet
    reward_scale: th.Tensor
    n_rounds: th.Tensor

    def __init__(
        self,
        reward_net: BasicRewardNet,
        batch_size: int,
        n_envs: int,
        n_recent: int = 2000,
        source: str = "recent",
        action_margin: float = 0.01,
        regularization: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reward_net, batch_size, action_margin)
        check_count("n_recent", n_recent)
        check_choice("source", source, SOURCES)
        self.n_recent, self.source = n_recent, source
        self.regularization = Regularization(**(regularization or {}))
        self.recent: deque[Transitions] = deque(maxlen=max(1, n_recent // n_envs))
        self.mixture = PolicyMixture(n_envs * max(1, n_recent // n_envs))
        weight, target = self.regularization.proximal_weight, self.regularization.proximal_target
        self.proximal = ProximalPenalty(weight, target) if weight > 0 else None
        self.register_buffer("reward_scale", th.ones(()))
        self.register_buffer("n_rounds", th.zeros(()))  # number of rounds that the scale averages over

    def check_generator(self, generator: BaseAlgorithm) -> None:
        super().check_generator(generator)
        if self.source == "replay":
            _replay_buffer(generator)

    def check_loaded_replay(self) -> None:
        if self.source == "replay" and self.needs_density:
            raise ValueError(
                "`source` must be 'recent' to load a replay buffer, because its policies are not saved, got 'replay'"
            )

    def record(self, transitions: Transitions, dones: NDArray[np.bool_], generator: BaseAlgorithm) -> None:
        self.recent.append(transitions)
        self.mixture.add(len(transitions.actions), acts_randomly(generator))
        if self.source == "replay":
            buffer = _replay_buffer(generator)
            self.mixture.window = buffer.buffer_size * buffer.n_envs

    def is_ready(self, generator: BaseAlgorithm) -> bool:
        # A hindsight buffer can be sampled only after its first episode
        buffer: Any = _replay_buffer(generator) if self.source == "replay" else None
        return not isinstance(buffer, HerReplayBuffer) or bool((buffer.ep_length > 0).any())

    def training_data(self, demos: list[Transitions], generator: BaseAlgorithm) -> tuple[Samples, Samples]:
        demo_transitions = concatenate(demos)
        if self.source == "replay":
            samples = _replay_buffer(generator).sample_transitions(self.n_recent)
        else:
            samples = concatenate(list(self.recent))
        if not self.needs_density:
            return without_density(demo_transitions), without_density(samples)
        self.mixture.take_snapshot(generator.policy)
        return (
            Samples(demo_transitions, self.log_q(demo_transitions, generator, "demonstrations")),
            Samples(samples, self.log_q(samples, generator)),
        )

    def log_q(self, transitions: Transitions, generator: BaseAlgorithm, name: str | None = None) -> th.Tensor:
        """Return the log-density of the mixture of policies that collected the stored samples, shape (n,).

        :param name: Cache key for transitions that never change.
        """
        log_probs = self.component_log_probs(self.mixture, transitions, generator, name)
        log_weights = th.tensor(self.mixture.log_weights, device=log_probs.device)
        return (log_probs + log_weights.unsqueeze(1)).logsumexp(0)

    def logits(self, transitions: Transitions, log_q: th.Tensor) -> th.Tensor:
        """Return logit D, shape (n,); positive values classify a transition as a demonstration.

        :param log_q: Log-density of the policies that collected the generator's samples, shape (n,).
        """
        return self._logits(self.reward_net.encode(transitions, log_q))

    def _logits(self, points: Points) -> th.Tensor:
        return self.reward_net.reward_of(points) - points.log_q

    def start_round(self) -> None:
        if self.proximal is not None:
            self.proximal.start_round(self.reward_net)

    def loss(self, demos: Samples, samples: Samples, generator: BaseAlgorithm) -> Loss:
        drawn = self._draw(demos), self._draw(samples)
        demo_points, sample_points = (self.reward_net.encode(*part) for part in drawn)
        settings = self.regularization
        loss, *logits = settings.classification(self._logits, demo_points, sample_points)
        metrics = accuracies(*logits)
        if settings.gradient_penalty > 0:
            penalty = settings.penalty(self.reward_net.reward_of, demo_points, sample_points)
            loss = loss + settings.gradient_penalty * penalty
            metrics["gradient_penalty"] = penalty.detach()
        if self.proximal is not None:
            rewards = th.cat([self.reward_net.reward_of(points) for points in (demo_points, sample_points)])
            change = self.proximal.change(rewards, concatenate([part.transitions for part in drawn]))
            loss = loss + self.proximal.weight * change
        return loss, metrics

    @th.no_grad()
    def finish_round(self, demos: Samples, samples: Samples) -> dict[str, th.Tensor]:
        metrics: dict[str, th.Tensor] = {}
        if self.proximal is not None:
            both = concatenate([self._draw(part).transitions for part in (demos, samples)])
            change = self.proximal.change(self.reward_net(*both), both)
            self.proximal.adapt(change)
            metrics = {"reward_change": change, "proximal_weight": self.proximal.weight.clone()}
        if self.regularization.normalize_rewards:
            rewards = th.cat([self.reward_net(*block) for block in blocks(samples.transitions)])
            std = self.generator_reward(rewards).std(unbiased=False).clamp_min(_MIN_REWARD_STD)
            self.n_rounds += 1
            self.reward_scale.lerp_(std, (1 / self.n_rounds).clamp_min(_SCALE_RATE))
        return metrics

    def generator_reward(self, outputs: th.Tensor) -> th.Tensor:
        """Return the generator's rewards before normalization, given the outputs of the reward network, (n,) each."""
        return outputs

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


def _replay_buffer(generator: BaseAlgorithm) -> Any:
    if not isinstance(generator, OffPolicyAlgorithm):
        raise ValueError(f"`source` must be 'recent' for {type(generator).__name__}, got 'replay'")
    return generator.replay_buffer
