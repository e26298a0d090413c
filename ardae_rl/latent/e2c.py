"""Embed to Control as an SB3 algorithm: steps are collected, a model is fitted, and acting is planning in it."""

from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from ardae_rl.common.progress import progress_bar
from ardae_rl.common.training import MetricMeans
from ardae_rl.latent.e2c_loss import E2CWeights, e2c_loss
from ardae_rl.latent.e2c_policy import E2CPolicy, as_pictures
from ardae_rl.latent.sequences import Sequences, SequenceSampler
from ardae_rl.latent.transition import TRANSITION_SAMPLES
from ardae_rl.score.validation import check_choice, check_positive

SelfE2C = TypeVar("SelfE2C", bound="E2C")
_ACTIVE = 0.05  # variance that the means of an active latent have at least
_MEASURED = 1000  # pictures that the latents' scale is taken from


class E2C(OffPolicyAlgorithm):
    """Embed to Control: locally linear latent dynamics from pictures, and plans in them.

    Reference: Watter, Springenberg, Boedecker and Riedmiller (2015), Embed to Control,
    https://arxiv.org/abs/1506.07365; the further terms are of Levine et al. (2020), https://arxiv.org/abs/1909.01506.

    ``learn`` goes round: ``n_collected`` steps are made, by random actions in the first round and by plans with random
    actions among them later; then the model is fitted to all steps so far. Training wants to see all places: give it an
    environment that starts anywhere.

    :param policy: "MultiInputPolicy" for dictionaries with pictures "observation" and "desired_goal", or "CnnPolicy"
        for pictures alone, which plans for the reward that it learns
    :param env: the environment to learn from
    :param learning_rate: of Adam
    :param n_collected: steps of a round
    :param gradient_steps: of a round's fit
    :param batch_size: sequences in a gradient step
    :param sequence_length: steps of a sequence, k: the model is to foresee so many
    :param prior_weight: see :class:`~ardae_rl.latent.e2c_loss.E2CWeights`, as for the next three
    :param transition_weight: λ
    :param consistency_weight: of the squared distance of pushed means to encoded ones
    :param curvature_weight: of the error of the linearisation
    :param curvature_noise: standard deviation of the points where that is measured
    :param transition_sample: "same" or "resample", see
        :class:`~ardae_rl.latent.transition.LocallyLinearTransition`
    :param reward_weight: of the squared error of the reward
    :param random_share: of actions that are random, after the first round
    :param buffer_size: steps that are kept
    :param max_grad_norm: bound of the gradient's norm
    :raises ValueError: for arguments outside of what is accepted
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CnnPolicy": E2CPolicy,
        "MultiInputPolicy": E2CPolicy,
    }
    policy: E2CPolicy

    def __init__(
        self,
        policy: str | type[E2CPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_collected: int = 5000,
        gradient_steps: int = 10_000,
        batch_size: int = 128,
        sequence_length: int = 1,
        prior_weight: float = 1.0,
        transition_weight: float = 0.25,
        consistency_weight: float = 0.0,
        curvature_weight: float = 0.0,
        curvature_noise: float = 0.1,
        transition_sample: str = "same",
        reward_weight: float = 1.0,
        random_share: float = 0.3,
        buffer_size: int = 50_000,
        max_grad_norm: float = 10.0,
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
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=0,
            batch_size=batch_size,
            train_freq=(n_collected, "step"),
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
        self.n_collected, self.sequence_length, self.reward_weight = n_collected, sequence_length, reward_weight
        self.prior_weight, self.transition_weight = prior_weight, transition_weight
        self.consistency_weight, self.curvature_weight = consistency_weight, curvature_weight
        self.curvature_noise, self.transition_sample = curvature_noise, transition_sample
        self.random_share, self.max_grad_norm = random_share, max_grad_norm
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        for name in ("n_collected", "gradient_steps", "batch_size", "sequence_length", "curvature_noise"):
            check_positive(name, getattr(self, name))
        check_choice("transition_sample", self.transition_sample, TRANSITION_SAMPLES)
        if self.transition_sample == "resample" and self.sequence_length > 1:
            raise ValueError(f"sequence_length={self.sequence_length!r} with 'resample': accepted is 1")
        if not 0 <= self.random_share <= 1:
            raise ValueError(f"random_share={self.random_share!r}: accepted are numbers from 0 to 1")
        self._weights()
        if self.replay_buffer_class is None:
            self.replay_buffer_class = (
                DictReplayBuffer if isinstance(self.observation_space, spaces.Dict) else ReplayBuffer
            )
        super()._setup_model()

    def learn(
        self: SelfE2C,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "E2C",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfE2C:
        """Rounds of ``n_collected`` steps, until there are as many as asked for."""
        return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar)

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Fit the model to the steps so far."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        assert self.replay_buffer is not None
        sampler = SequenceSampler(
            self.replay_buffer, self.sequence_length, "observation" if self.policy.by_goal else None
        )
        rng = np.random.default_rng([self.seed or 0, self._n_updates])
        metrics = MetricMeans()
        with progress_bar("model: steps", gradient_steps, self.verbose > 0) as update:
            for step in range(gradient_steps):
                metrics.add(self._step(sampler.sample(batch_size, rng)))
                self._n_updates += 1
                update(step + 1)
        for name, value in metrics.finite(f"{self._n_updates} gradient steps").items():
            self.logger.record(f"train/{name}", value)
        self._measure(sampler.sample(_MEASURED, rng))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _step(self, batch: Sequences) -> dict[str, th.Tensor]:
        loss, terms = e2c_loss(
            self.policy.model,
            as_pictures(batch.observations),
            batch.actions,
            self._weights(),
            self.transition_sample,
            self.curvature_noise,
        )
        if self.reward_weight:
            with th.no_grad():
                z, _ = self.policy.encoder(as_pictures(batch.observations[:, 0]))
            predicted = self.policy.reward(th.cat([z, batch.actions[:, 0]], -1)).squeeze(-1)
            terms["reward_error"] = (predicted - batch.rewards[:, 0]).square().mean()
            loss = loss + self.reward_weight * terms["reward_error"]
        self.policy.optimizer.zero_grad()
        loss.backward()
        th.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
        self.policy.optimizer.step()
        return {"loss": loss.detach()} | {name: term.detach() for name, term in terms.items()}

    @th.no_grad()
    def _measure(self, batch: Sequences) -> None:
        """The latents' scale, which costs are in units of, and whether they say anything of the pictures."""
        mean, _ = self.policy.encoder(as_pictures(batch.observations[:, 0]))
        variance = mean.var(0)
        self.policy.latent_scale.copy_(variance.sqrt().clamp_min(1e-6))
        self.logger.record("train/active_latents", int((variance > _ACTIVE).sum()))

    def _weights(self) -> E2CWeights:
        return E2CWeights(self.prior_weight, self.transition_weight, self.consistency_weight, self.curvature_weight)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Random actions while there is no model; then plans, with random actions among them."""
        assert isinstance(self.action_space, spaces.Box)
        actions = np.stack([self.action_space.sample() for _ in range(n_envs)])
        if self._n_updates:
            planned, self._plans = self.policy.predict(
                self._last_obs, getattr(self, "_plans", None), self._last_episode_starts
            )
            chosen = np.random.random(n_envs) < self.random_share
            actions = np.where(chosen[:, None], actions, planned)
        scaled = self.policy.scale_action(actions)
        return actions, scaled

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_plans"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
