"""Guided cost learning and its formulation as a GAN, with a discriminator of whole episodes."""

import math
from collections import deque
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.ebm.losses import OBJECTIVES, energy_loss
from ardae_rl.ebm.partition import PartitionFunction
from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.discriminator import Discriminator, Loss, accuracies
from ardae_rl.irl.files import Demonstrations
from ardae_rl.irl.generator import acts_randomly
from ardae_rl.irl.mixture import PolicyMixture
from ardae_rl.irl.reward_nets import BasicRewardNet
from ardae_rl.irl.transitions import Transitions, concatenate, select


class Episodes(NamedTuple):
    """Several episodes in one batch of transitions, and ln q of each."""

    transitions: Transitions
    lengths: list[int]
    log_q: th.Tensor  # (n_episodes,)

    def draw(self, n: int) -> "Episodes":
        """Return n random episodes without replacement, or all if there are fewer."""
        if n >= len(self.lengths):
            return self
        index = th.randperm(len(self.lengths))[:n].tolist()
        rows = [slice(sum(self.lengths[:k]), sum(self.lengths[: k + 1])) for k in index]
        transitions = concatenate([select(self.transitions, part) for part in rows])
        return Episodes(transitions, [self.lengths[k] for k in index], self.log_q[index])


class GANGCLDiscriminator(Discriminator[Episodes]):
    """Discriminator D = e^{R(τ)} / Z / (e^{R(τ)} / Z + q(τ)) of whole episodes.

    :param observation_space: Observation space of the environment.
    :param action_space: Action space of the environment.
    :param gamma: Discount factor of the generator, not used.
    :param reward_kwargs: Keyword arguments of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`.
    :param batch_size: Number of demonstrated episodes, and of generator episodes, per update.
    :param n_envs: Number of environments that the generator acts in.
    :param n_recent: Number of most recent generator episodes to train on.
    :param objective: "gan" (the discriminator loss) or "cost" (the negative log-likelihood of the demonstrations).
    :param partition: Kind of :class:`~ardae_rl.ebm.partition.PartitionFunction`.
    :param action_margin: Width of the strip next to the action bounds, as a fraction of the half-range, in which reward
        and ln π are constant.
    :raises ValueError: For arguments out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        gamma: float,
        reward_kwargs: dict[str, Any],
        batch_size: int,
        n_envs: int,
        n_recent: int = 10,
        objective: str = "gan",
        partition: str = "mixture",
        action_margin: float = 0.01,
    ) -> None:
        super().__init__(BasicRewardNet(observation_space, action_space, **reward_kwargs), batch_size, action_margin)
        check_count("n_recent", n_recent)
        check_choice("objective", objective, OBJECTIVES)
        if objective == "cost":
            check_choice("partition", partition, ("mixture", "sampler"))
        self.objective = objective
        self.partition = PartitionFunction(partition)
        self.recent: deque[Episodes] = deque(maxlen=n_recent)
        self.mixture = PolicyMixture(n_recent)
        self._n_envs = n_envs
        self.start_episodes()

    def start_episodes(self) -> None:
        self._unfinished: list[list[tuple[Transitions, th.Tensor]]] = [[] for _ in range(self._n_envs)]
        self._has_random = [False] * self._n_envs

    @th.no_grad()
    def reward(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        r: th.Tensor = self.reward_net(*transitions)
        return r - self.log_prob(transitions, generator) if isinstance(generator, OnPolicyAlgorithm) else r

    def record(self, transitions: Transitions, dones: NDArray[np.bool_], generator: BaseAlgorithm) -> None:
        """Store a step with ln π of the policy that took it.

        Episodes with uniformly random actions, which off-policy generators take at first, are dropped.
        """
        log_probs = self.log_prob(transitions, generator)
        random = acts_randomly(generator)
        for k, episode in enumerate(self._unfinished):
            self._has_random[k] |= random
            episode.append((select(transitions, slice(k, k + 1)), log_probs[k : k + 1]))
            if dones[k]:
                if not self._has_random[k]:
                    steps, log_q = zip(*episode, strict=True)
                    self.mixture.add(1, random=False)
                    self.recent.append(Episodes(concatenate(steps), [len(steps)], th.cat(log_q).sum()[None]))
                self._unfinished[k], self._has_random[k] = [], False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of the reward, and a learned ln Z without weight decay."""
        groups: list[dict[str, Any]] = [{"params": list(self.reward_net.parameters())}]
        log_z = list(self.partition.parameters())
        return [*groups, {"params": log_z, "weight_decay": 0.0}] if log_z else groups

    def is_ready(self, generator: BaseAlgorithm) -> bool:
        return len(self.recent) > 0

    def training_data(self, demos: list[Transitions], generator: BaseAlgorithm) -> tuple[Episodes, Episodes]:
        """Return demonstrated and stored episodes, with ln q of the policies that collected the stored ones."""
        self.mixture.take_snapshot(generator.policy)
        components = self.mixture.components
        log_weights = th.tensor(self.mixture.log_weights, device=generator.device).unsqueeze(1)
        demo_lengths, lengths = [len(demo.actions) for demo in demos], [part.lengths[0] for part in self.recent]
        demo_transitions = concatenate(demos)
        demo_terms = self._episode_log_probs(demo_transitions, demo_lengths, generator, "demonstrations") + log_weights
        transitions = concatenate([episode.transitions for episode in self.recent])
        terms = self._episode_log_probs(transitions, lengths, generator) + log_weights
        # Each stored episode is one of the episodes of its own component. The policy changed during the episode, so
        # its share of the component's density is taken from the log-density that was recorded with it.
        counts = th.tensor([component.n_samples for component in components], device=terms.device)
        origin = th.arange(len(components), device=terms.device).repeat_interleave(counts)
        episodes = th.arange(len(lengths), device=terms.device)
        share_of_others = th.log1p(-1 / counts[origin])  # -inf for a component with a single episode
        exact = th.cat([episode.log_q for episode in self.recent]) - math.log(len(lengths))
        terms[origin, episodes] = th.logaddexp(terms[origin, episodes] + share_of_others, exact)
        return (
            Episodes(demo_transitions, demo_lengths, demo_terms.logsumexp(0)),
            Episodes(transitions, lengths, terms.logsumexp(0)),
        )

    def _episode_log_probs(
        self, transitions: Transitions, lengths: list[int], generator: BaseAlgorithm, name: str | None = None
    ) -> th.Tensor:
        """Return Σ ln π of each episode under each component of the mixture, shape (n_components, n_episodes)."""
        log_probs = self.component_log_probs(self.mixture, transitions, generator, name).split(lengths, 1)
        return th.stack([part.sum(1) for part in log_probs], 1)

    def loss(self, demos: Episodes, samples: Episodes, generator: BaseAlgorithm) -> Loss:
        demos, samples = demos.draw(self.batch_size), samples.draw(self.batch_size)
        demo_cost, sample_cost = -self.returns(demos), -self.returns(samples)
        self.partition.update(demo_cost.detach(), demos.log_q, sample_cost.detach(), samples.log_q)
        log_z = self.partition.log_z
        costs = demo_cost, demos.log_q, sample_cost, samples.log_q
        loss, demo_logits, sample_logits = energy_loss(self.objective, *costs, log_z)
        return loss, {"log_partition": log_z.detach()} | accuracies(demo_logits, sample_logits)

    def returns(self, episodes: Episodes) -> th.Tensor:
        """Return R(τ) = Σ r(s_t, a_t) of each episode, shape (n_episodes,)."""
        rewards = self.reward_net(*episodes.transitions).split(episodes.lengths)
        return th.stack([part.sum() for part in rewards])


class GANGCL(AdversarialIRL):
    """Guided cost learning formulated as a GAN, with a discriminator of whole episodes.

    D = e^{R(τ)} / Z / (e^{R(τ)} / Z + q(τ)) with R(τ) = Σ r(s_t, a_t) and q(τ) = Π π(a_t|s_t); the transition
    probabilities of the environment cancel. Sums over hundreds of steps make this method far noisier than
    :class:`~ardae_rl.irl.airl.AIRL`.

    References: Finn, Christiano, Abbeel and Levine (2016), A connection between generative adversarial networks,
    inverse reinforcement learning, and energy-based models, https://arxiv.org/abs/1611.03852; for
    ``objective="cost"``, which has the same gradient with ``partition="mixture"``, Finn, Levine and Abbeel (2016),
    Guided cost learning, https://arxiv.org/abs/1603.00448.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl import GANGCL
    >>> from ardae_rl.irl import collect_demonstrations
    >>> expert = SAC("MlpPolicy", "Pendulum-v1")  # train it first
    >>> demos = collect_demonstrations(expert, gym.make("Pendulum-v1"), n_episodes=1)
    >>> kwargs = {"learning_starts": 10}
    >>> model = GANGCL("MlpPolicy", "Pendulum-v1", demos, "sac", kwargs, n_disc_updates=2).learn(210)
    >>> action, _ = model.predict(model.get_env().reset())

    The arguments are those of :class:`~ardae_rl.irl.adversarial.AdversarialIRL`; the three below have other defaults.
    ``reward_kwargs`` are keyword arguments of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`, and
    ``discriminator_kwargs`` are ``n_recent``, ``objective``, ``partition`` and ``action_margin`` of
    :class:`GANGCLDiscriminator`.

    :param disc_learning_rate: Learning rate of the discriminator.
    :param demo_batch_size: Number of demonstrated episodes, and of generator episodes, per discriminator update.
    :param n_disc_updates: Number of discriminator updates per round.
    """

    discriminator_class: ClassVar[type[Discriminator[Any]]] = GANGCLDiscriminator

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        generator: str | type[BaseAlgorithm] = "sac",
        generator_kwargs: dict[str, Any] | None = None,
        *,
        disc_learning_rate: float | Schedule = 1e-3,
        demo_batch_size: int = 10,
        n_disc_updates: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            policy,
            env,
            demonstrations,
            generator,
            generator_kwargs,
            disc_learning_rate=disc_learning_rate,
            demo_batch_size=demo_batch_size,
            n_disc_updates=n_disc_updates,
            **kwargs,
        )
