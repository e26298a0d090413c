"""The base of algorithms that fit a latent model to collected steps and act by planning in it."""

import math
from abc import abstractmethod
from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import update_learning_rate

from ardae_rl.common.algorithms import NamedAlgorithm
from ardae_rl.common.checks import check_between, check_count, check_positive
from ardae_rl.common.queries import check_spaces
from ardae_rl.common.training import MetricMeans
from ardae_rl.latent.sequences import Sequences, SequenceSampler
from ardae_rl.planning.policy import LatentPlanningPolicy, State
from ardae_rl.runs.progress import progress_bar

SelfModelBased = TypeVar("SelfModelBased", bound="ModelBasedAlgorithm")


class ModelBasedAlgorithm(NamedAlgorithm, OffPolicyAlgorithm):
    """Alternates between collecting environment steps and fitting a model to them.

    Each round of ``learn`` collects ``n_collected`` steps and then fits the model to all steps so far. Actions are
    random in the first round, and a mixture of planned and random ones afterwards.

    :param policy: A :class:`~ardae_rl.planning.policy.LatentPlanningPolicy` whose ``optimizer`` updates all networks.
    :param env: The environment to learn from.
    :param learning_rate: Learning rate of that optimizer. A schedule is evaluated at each gradient step; over a round,
        it covers the same progress as the round's environment steps.
    :param n_collected: Number of environment steps per round, over all environments; rounded up to a multiple of their
        number.
    :param gradient_steps: Number of gradient steps per round.
    :param batch_size: Number of sequences per gradient step.
    :param sequence_length: Number of steps per sequence.
    :param random_share: Fraction of actions that are random after the first round.
    :param buffer_size: Capacity of the replay buffer.
    :param max_grad_norm: Bound of the gradient norm.
    :param stats_window_size: Number of episodes over which rollout statistics are averaged.
    :param tensorboard_log: Folder of TensorBoard logs; None for no logs.
    :param policy_kwargs: Arguments of the policy.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random generators except the planner's, whose seed is ``policy_kwargs["seed"]``.
    :param device: Device of the networks.
    :raises ValueError: If an argument is out of its range.
    """

    policy: LatentPlanningPolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule,
        *,
        n_collected: int,
        gradient_steps: int,
        batch_size: int,
        sequence_length: int,
        random_share: float,
        buffer_size: int,
        max_grad_norm: float,
        stats_window_size: int,
        tensorboard_log: str | None,
        policy_kwargs: dict[str, Any] | None,
        verbose: int,
        seed: int | None,
        device: th.device | str,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=0,
            batch_size=batch_size,
            gradient_steps=gradient_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box,),
            sde_support=False,
        )
        self.n_collected, self.sequence_length = n_collected, sequence_length
        self.random_share, self.max_grad_norm = random_share, max_grad_norm
        self._planning_state: State | None = None

    def _setup_model(self) -> None:
        for name in ("n_collected", "gradient_steps", "batch_size", "sequence_length", "buffer_size"):
            check_count(name, getattr(self, name))
        check_positive("max_grad_norm", self.max_grad_norm)
        check_between("random_share", self.random_share, 0, 1)
        check_spaces(self)
        if self.replay_buffer_class is None:
            with_goal = isinstance(self.observation_space, spaces.Dict)
            self.replay_buffer_class = DictReplayBuffer if with_goal else ReplayBuffer
        # SB3 counts a step of the vectorized environment as one. A loaded model may have a different number of them.
        self._steps_per_env = math.ceil(self.n_collected / self.n_envs)
        self.train_freq = (self._steps_per_env, "step")
        super()._setup_model()

    def learn(
        self: SelfModelBased,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfModelBased:
        """Train in rounds of ``n_collected`` steps until ``total_timesteps`` have been collected.

        Rounds are never cut short: the last one may exceed ``total_timesteps``.

        :param tb_log_name: Name of the run in TensorBoard, by default the name of the class.
        """
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Fit the model to all steps collected so far."""
        self.policy.set_training_mode(True)
        rates = self._learning_rates(gradient_steps)
        assert self.replay_buffer is not None
        key = "observation" if isinstance(self.observation_space, spaces.Dict) else None
        sampler = SequenceSampler(self.replay_buffer, self.sequence_length, key, self._vec_normalize_env)
        rng = np.random.default_rng([self.seed or 0, self._n_updates])
        self._before_fit(sampler, rng)
        metrics = MetricMeans()
        with progress_bar("model: steps", gradient_steps, self.verbose > 0) as update:
            for step in range(gradient_steps):
                update_learning_rate(self.policy.optimizer, rates[step])
                loss, terms = self._loss(sampler.sample(batch_size, rng))
                self.policy.optimizer.zero_grad()
                loss.backward()
                th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                metrics.add({"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()})
                self._n_updates += 1
                update(step + 1)
        for name, value in metrics.finite(f"{self._n_updates} gradient steps").items():
            self.logger.record(f"train/{name}", value)
        self._after_fit(sampler, rng)
        self.logger.record("train/learning_rate", rates[-1])
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _learning_rates(self, gradient_steps: int) -> list[float]:
        """Return the learning rate of each gradient step.

        The gradient steps come after the collection of the whole round. The schedule is therefore evaluated along the
        progress from the round's first step to its last, so that a schedule that ends at zero still trains in the last
        round.
        """
        collected = self._steps_per_env * self.n_envs
        end = max(0.0, self._current_progress_remaining)
        start = min(1.0, self._current_progress_remaining + collected / max(1, self._total_timesteps))
        return [self.lr_schedule(start + (end - start) * step / gradient_steps) for step in range(gradient_steps)]

    @abstractmethod
    def _loss(self, batch: Sequences) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """Return the loss of a gradient step, and its terms for the log."""

    def _before_fit(self, sampler: SequenceSampler, rng: np.random.Generator) -> None:
        """Measure statistics of the data before the gradient steps; nothing by default."""

    def _after_fit(self, sampler: SequenceSampler, rng: np.random.Generator) -> None:
        """Measure statistics of the model for planning and the log; nothing by default."""

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return random actions until there is a model, then planned actions mixed with random ones."""
        assert isinstance(self.action_space, spaces.Box)
        actions = np.stack([self.action_space.sample() for _ in range(n_envs)])
        if self._n_updates:
            planned, state = self.policy.predict(self._last_obs, self._planning_state, self._last_episode_starts)
            chosen = np.random.random(n_envs) < self.random_share
            actions = np.where(chosen[:, None], actions, planned)
            state[0][:, 0] = self.policy.scale_action(actions)  # the action taken, not the planned one
            self._planning_state = state
        return actions, self.policy.scale_action(actions)

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a step, and remember for the planner which environments start an episode at the next one."""
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._last_episode_starts = dones

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_planning_state"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
