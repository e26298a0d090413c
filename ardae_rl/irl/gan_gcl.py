"""Discriminators of whole trajectories: guided cost learning, and the same as an adversarial network."""

from collections import deque
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.ebm.losses import cost_loss, discriminator_logits
from ardae_rl.ebm.partition import PartitionFunction
from ardae_rl.irl.adversarial import AdversarialIRL, Demonstrations
from ardae_rl.irl.relabelling import Step, Transitions, concatenated, select
from ardae_rl.irl.reward_nets import BasicRewardNet
from ardae_rl.irl.trajectories import Trajectory
from ardae_rl.score.losses import contrastive_loss

OBJECTIVES = ("gan", "cost")


class GANGCL(AdversarialIRL):
    """D = e^{R(τ)} / Z / (e^{R(τ)} / Z + q(τ)) of whole episodes, R(τ) = Σ r(s_t, a_t) and q(τ) = Π π(a_t|s_t).

    Reference: Finn, Christiano, Abbeel and Levine (2016), https://arxiv.org/abs/1611.03852; with ``objective="cost"``
    guided cost learning itself (Finn, Levine and Abbeel 2016, https://arxiv.org/abs/1603.00448), whose gradient is the
    same. The probabilities of the environment's own transitions cancel. Sums over hundreds of steps make this far
    noisier than :class:`~ardae_rl.irl.airl.AIRL`. See :class:`~ardae_rl.irl.adversarial.AdversarialIRL` for the
    arguments that are not named here; a ``batch_size`` is of episodes.

    :param n_recent: episodes of the generator that the discriminator's samples are from
    :param objective: "gan" (the discriminator's loss) or "cost" (the negative log likelihood of the demonstrations)
    :param partition: of :class:`~ardae_rl.ebm.partition.PartitionFunction`
    :param reward_kwargs: of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`
    """

    reward_net: BasicRewardNet

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        generator: str | type[BaseAlgorithm] = "sac",
        generator_kwargs: dict[str, Any] | None = None,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 10,
        n_steps: int = 200,
        gradient_steps: int = 20,
        n_recent: int = 10,
        weight_decay: float = 0.0,
        action_margin: float = 0.01,
        objective: str = "gan",
        partition: str = "mixture",
        reward_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            demonstrations,
            generator,
            generator_kwargs,
            learning_rate,
            batch_size=batch_size,
            n_steps=n_steps,
            gradient_steps=gradient_steps,
            weight_decay=weight_decay,
            action_margin=action_margin,
            reward_kwargs=reward_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        self.n_recent, self.objective, self.partition_kind = n_recent, objective, partition
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_positive("n_recent", self.n_recent)
        check_choice("objective", self.objective, OBJECTIVES)
        if self.objective == "cost" and self.partition_kind == "learned":
            raise ValueError("partition='learned' with objective='cost': accepted are 'mixture' and 'sampler'")
        self.partition = PartitionFunction(self.partition_kind).to(self.device)
        self._recent: deque[Episodes] = deque(maxlen=self.n_recent)
        self._running: list[list[tuple[Transitions, th.Tensor]]] = [[] for _ in range(self.n_envs)]
        super()._setup_model()

    def _make_reward_net(self) -> BasicRewardNet:
        return BasicRewardNet(self.observation_space, self.action_space, **self.reward_kwargs)

    @th.no_grad()
    def reward(self, transitions: Transitions) -> th.Tensor:
        r: th.Tensor = self.reward_net(*transitions)
        return r if isinstance(self.generator, OffPolicyAlgorithm) else r - self._log_prob(transitions)

    def _take_demonstrations(self, demonstrations: list[Trajectory]) -> None:
        super()._take_demonstrations(demonstrations)
        self._demo_lengths = [len(trajectory) for trajectory in demonstrations]

    def _record(self, step: Step) -> None:
        """With ln π of the policy as it is: an episode's q(τ) is that of what it was drawn from, step by step."""
        transitions = self._tensors(step.observations, step.actions, step.next_observations, step.terminated)
        log_probs = self._log_prob(transitions)
        for k, running in enumerate(self._running):
            running.append((select(transitions, slice(k, k + 1)), log_probs[k : k + 1]))
            if step.terminated[k] or step.truncated[k]:
                if self.num_timesteps >= self._first_own_step + len(running) * self.n_envs:
                    steps, log_q = zip(*running, strict=True)
                    self._recent.append(Episodes(concatenated(steps), [len(steps)], th.cat(log_q).sum()[None]))
                self._running[k] = []

    @property
    def _first_own_step(self) -> int:
        """Before it, actions may be random, and have another density."""
        return int(getattr(self.generator, "learning_starts", 0))

    def _ready(self) -> bool:
        return len(self._recent) > 0

    def _before_turn(self) -> None:
        demo_log_probs = self._log_prob(self.expert).split(self._demo_lengths)
        log_q = th.stack([log_probs.sum() for log_probs in demo_log_probs])
        self._demos = Episodes(self.expert, self._demo_lengths, log_q)
        self._samples = Episodes(
            concatenated([episode.transitions for episode in self._recent]),
            [episode.lengths[0] for episode in self._recent],
            th.cat([episode.log_q for episode in self._recent]),
        )

    def _discriminator_step(self) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        demos, samples = self._demos.draw(self.batch_size), self._samples.draw(self.batch_size)
        demo_cost, sample_cost = -self._returns(demos), -self._returns(samples)
        self.partition.update(demo_cost.detach(), demos.log_q, sample_cost.detach(), samples.log_q)
        log_z = self.partition.log_z
        demo_logits = discriminator_logits(demo_cost, demos.log_q, log_z)
        sample_logits = discriminator_logits(sample_cost, samples.log_q, log_z)
        if self.objective == "gan":
            loss = contrastive_loss(demo_logits, sample_logits)
        else:
            loss = cost_loss(demo_cost, demos.log_q, sample_cost, samples.log_q, log_z)
        return loss, {
            "log_partition": log_z.detach(),
            "demo_accuracy": (demo_logits > 0).float().mean(),
            "sample_accuracy": (sample_logits < 0).float().mean(),
        }

    def _returns(self, episodes: "Episodes") -> th.Tensor:
        """Σ r, (n)."""
        rewards = self.reward_net(*episodes.transitions).split(episodes.lengths)
        return th.stack([part.sum() for part in rewards])

    def _parameters(self) -> list[th.nn.Parameter]:
        return [*super()._parameters(), *self.partition.parameters()]

    def _extra_modules(self) -> list[str]:
        return ["partition"]

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recent", "_running", "_demos", "_samples"]


class Episodes(NamedTuple):
    """Episodes one after another, and ln q of each."""

    transitions: Transitions
    lengths: list[int]
    log_q: th.Tensor  # (n)

    def draw(self, n: int) -> "Episodes":
        """So many of them, or all, none twice."""
        if n >= len(self.lengths):
            return self
        chosen = th.randperm(len(self.lengths))[:n].tolist()
        parts = [slice(sum(self.lengths[:k]), sum(self.lengths[: k + 1])) for k in chosen]
        transitions = concatenated([select(self.transitions, part) for part in parts])
        return Episodes(transitions, [self.lengths[k] for k in chosen], self.log_q[chosen])
