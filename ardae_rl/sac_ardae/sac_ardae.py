"""SAC with an implicit policy, whose score and log-density are estimated by AR-DAE."""

from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy, ContinuousCritic
from stable_baselines3.common.type_aliases import GymEnv, PyTorchObs, ReplayBufferSamples, Schedule
from stable_baselines3.common.utils import get_parameters_by_name, polyak_update
from torch.nn import functional as F

from ardae_rl.common.algorithms import NamedAlgorithm, n_step_buffer_accepted
from ardae_rl.common.checks import check_count, check_keys, check_min
from ardae_rl.common.compiled import CompiledFunction, CudaRecorder, GraphedStep, set_learning_rate
from ardae_rl.common.queries import check_spaces
from ardae_rl.common.squashed import saturation_excess
from ardae_rl.common.temperature import check_continuous, check_temperature, check_updates, initial_ent_coef
from ardae_rl.common.training import GradientLimit, MetricMeans, frozen, polyak_update_foreach
from ardae_rl.sac_ardae.actor import ImplicitActor
from ardae_rl.sac_ardae.bounds import EntropyCheck
from ardae_rl.sac_ardae.calibration import TargetCalibration
from ardae_rl.sac_ardae.density import EncodedStates, pre_tanh_log_prob, pre_tanh_score
from ardae_rl.sac_ardae.jacobian_clamping import JacobianClamping
from ardae_rl.sac_ardae.policies import CnnPolicy, MlpPolicy, MultiInputPolicy, SACARDAEPolicy
from ardae_rl.sac_ardae.whitening import AffineFrame
from ardae_rl.score import ARDAE, entropy_surrogate

# The two kinds of gradient steps
_GRAPHED_ON_GPU = ("update_networks", "update_critic_alone")
# Methods with many small operations, which torch.compile fuses. (The critics' loss is a few matrix products.)
_COMPILED_ON_CPU = ("_encode_states", "_score_samples", "target_q_values", "_actor_loss")

# Gradient steps between updates of the density correction, and between computations of the entropy bound
CORRECTION_INTERVAL = 50


class SACARDAE(NamedAlgorithm, OffPolicyAlgorithm):
    """Soft actor-critic with an implicit policy: a sampler a = tanh g(ε, s) without a closed-form density (SAC-AR-DAE).

    Reference: Lim, Courville, Pal and Huang (2020), App. G, https://arxiv.org/abs/2006.05164. The defaults are
    cheaper than the paper's settings, which are in ``zoo_configs/sac_ardae_paper.yml``. Arguments that SB3's SAC has as
    well mean the same.

    Example:

    >>> from ardae_rl import SACARDAE
    >>> model = SACARDAE("MlpPolicy", "Pendulum-v1", learning_starts=50, score_warmup=20).learn(60)
    >>> action, _ = model.predict(model.get_env().reset(), deterministic=True)

    :param policy: "MlpPolicy", "CnnPolicy" or "MultiInputPolicy", or a subclass of
        :class:`~ardae_rl.sac_ardae.policies.SACARDAEPolicy`.
    :param env: Environment, or its id.
    :param learning_rate: Learning rate of actor, critics and temperature. May be a schedule. With a location path, the
        generator's rate starts at three times this rate and falls to it.
    :param buffer_size: Size of the replay buffer.
    :param learning_starts: Number of environment steps before training starts.
    :param batch_size: Number of transitions in a gradient step.
    :param tau: Polyak coefficient of the target critics.
    :param gamma: Discount factor.
    :param train_freq: Number of environment steps between calls of ``train``, or ``(n, "step" | "episode")``.
    :param gradient_steps: Number of gradient steps per call of ``train``. -1 means as many as environment steps.
    :param action_noise: Exploration noise added to the policy's actions.
    :param replay_buffer_class: Class of the replay buffer. None chooses it by the observations.
    :param replay_buffer_kwargs: Arguments of the replay buffer.
    :param optimize_memory_usage: Whether to store observations once, which takes half the memory.
    :param n_steps: Number of steps n of n-step returns.
    :param ent_coef: Temperature α: a fixed number, or "auto" or "auto_<initial value>" to learn it.
    :param target_update_interval: Number of gradient steps between updates of the target critics. As in SB3, the count
        starts anew at each call of ``train``, so an interval above ``gradient_steps`` acts like ``gradient_steps``.
    :param target_entropy: Target of a learned temperature. "auto" is minus the action dimension for the entropy, and
        ln(β √d) for the distance of ``policy_kwargs=dict(entropy="distance")``.
    :param backup_entropy: Whether the critics' targets include the entropy of the next action.
    :param target_calibration: Whether the critics learn values shifted by a constant
        (:class:`~ardae_rl.sac_ardae.calibration.TargetCalibration`). This needs ``backup_entropy``.
    :param n_score_updates: Number of updates of the score estimator in a gradient step that updates the actor. This and
        the next three arguments have no effect with ``entropy="distance"``, which has no estimator.
    :param score_batch_size: Number of states in an update of the estimator.
    :param n_action_samples: Number of actions sampled in each of these states.
    :param score_warmup: Number of updates of the estimator before the first gradient step.
    :param clamping_kwargs: Settings of :class:`~ardae_rl.sac_ardae.jacobian_clamping.JacobianClamping`: ``eta`` (0
        switches clamping off, which is the default with ``entropy="distance"``), ``xi``, ``nu``, ``max_weight``,
        ``output``, ``n_perturbations``.
    :param actor_gradient_limit: Clip the actor's gradient norm to this multiple of its running mean
        (:class:`~ardae_rl.common.training.GradientLimit`). 0 disables clipping.
    :param compile: Train with torch.compile on a CPU (the first steps then take a minute or two), or as a CUDA graph
        on a GPU. The results are the same up to rounding. Where this fails, a warning says so and training runs
        without it.
    :param stats_window_size: Number of episodes over which rollout statistics are averaged.
    :param tensorboard_log: Folder of the TensorBoard log.
    :param policy_kwargs: Arguments of :class:`~ardae_rl.sac_ardae.policies.SACARDAEPolicy`, such as ``net_arch``,
        ``noise_dim``, ``critic``, ``entropy``, and ``score_kwargs``, the settings of the estimator.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random generators.
    :param device: Device of the networks.
    :param _init_setup_model: Whether to build the networks in the constructor.
    :raises ValueError: For an argument out of its range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    policy: SACARDAEPolicy
    actor: ImplicitActor
    critic: ContinuousCritic
    critic_target: ContinuousCritic
    estimator: ARDAE

    def __init__(
        self,
        policy: str | type[SACARDAEPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        n_steps: int = 1,
        ent_coef: str | float = "auto",
        target_update_interval: int = 1,
        target_entropy: str | float = "auto",
        backup_entropy: bool = True,
        target_calibration: bool = False,
        n_score_updates: int = 1,
        score_batch_size: int = 64,
        n_action_samples: int = 8,
        score_warmup: int = 300,
        clamping_kwargs: dict[str, Any] | None = None,
        actor_gradient_limit: float = 4.0,
        compile: bool = False,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ):
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            n_steps=n_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            support_multi_env=True,
        )
        self.ent_coef = ent_coef
        self.log_ent_coef: th.Tensor | None = None
        self.ent_coef_optimizer: th.optim.Adam | None = None
        self.target_entropy = target_entropy
        self.target_update_interval = target_update_interval
        self.backup_entropy = backup_entropy
        self.target_calibration = target_calibration
        self.calibration: TargetCalibration | None = None
        self.n_score_updates = n_score_updates
        self.score_batch_size = score_batch_size
        self.n_action_samples = n_action_samples
        self.score_warmup = score_warmup
        self.clamping_kwargs = clamping_kwargs
        self.actor_gradient_limit = actor_gradient_limit
        self.limit_actor_gradient: GradientLimit | None = None
        self.compile = compile
        if _init_setup_model:
            self._setup_model()

    def _check_arguments(self) -> None:
        check_continuous(self.action_space)
        check_spaces(self)
        minima = {"n_score_updates": 1, "score_batch_size": 1, "n_action_samples": 2, "score_warmup": 0}
        for name, minimum in minima.items():
            check_count(name, getattr(self, name), minimum)
        check_min("actor_gradient_limit", self.actor_gradient_limit, 0)
        check_temperature(self.ent_coef, self.target_entropy)
        check_updates(self)
        if self.target_calibration and not self.backup_entropy:
            raise ValueError("`backup_entropy` must be True with target_calibration=True, got False")

    def _check_density(self) -> None:
        learned = isinstance(self.ent_coef, str)
        if self.policy.distance is None and not self.estimator.has_density and (learned or self.backup_entropy):
            raise ValueError(
                "`backup_entropy` must be False and `ent_coef` a number if the estimator has no log-density, got "
                f"{self.backup_entropy} and {self.ent_coef!r}"
            )

    def _setup_model(self) -> None:
        self._check_arguments()
        clamping_kwargs = self.clamping_kwargs or {}
        check_keys("clamping_kwargs", clamping_kwargs, [field.name for field in fields(JacobianClamping)])
        with n_step_buffer_accepted(self):
            super()._setup_model()
        self._create_aliases()
        distance = self.policy.distance
        # The distance itself keeps a policy from collapsing
        self.clamping = JacobianClamping(**(({} if distance is None else {"eta": 0}) | clamping_kwargs))
        self._check_density()
        self.batch_norm_stats = get_parameters_by_name(self.critic, ["running_"])
        self.batch_norm_stats_target = get_parameters_by_name(self.critic_target, ["running_"])
        if self.target_entropy == "auto":
            dim = self.actor.action_dim
            self.target_entropy = -float(dim) if distance is None else distance.target(dim)
        self.target_entropy = float(self.target_entropy)
        if isinstance(self.ent_coef, str):
            initial = float(np.log(initial_ent_coef(self.ent_coef)))
            self.log_ent_coef = th.full((1,), initial, device=self.device, requires_grad=True)
            self.ent_coef_optimizer = th.optim.Adam([self.log_ent_coef], lr=self.lr_schedule(1), fused=True)
        else:
            self.ent_coef_tensor = th.tensor(float(self.ent_coef), device=self.device)
        if self.target_calibration:
            n_steps = getattr(self.replay_buffer, "n_steps", 1)
            self.calibration = TargetCalibration(self.gamma**n_steps).to(self.device)
        if self.actor_gradient_limit > 0:
            self.limit_actor_gradient = GradientLimit(self.actor_gradient_limit).to(self.device)
        self.entropy_check = EntropyCheck()
        if self.compile:
            self._compile()

    def _compile(self) -> None:
        """Wrap the update steps in torch.compile (CPU) or a CUDA graph (GPU)."""
        if self.device.type == "cuda":
            for name in _GRAPHED_ON_GPU:
                setattr(self, name, GraphedStep(getattr(self, name), CudaRecorder()))
        else:
            if self.policy.distance is None:
                self.estimator.compile_updates()
            for name in _COMPILED_ON_CPU:
                setattr(self, name, CompiledFunction(getattr(self, name)))

    def _create_aliases(self) -> None:
        self.actor = self.policy.actor
        self.critic = self.policy.critic
        self.critic_target = self.policy.critic_target
        if self.policy.distance is None:
            self.estimator = self.policy.estimator

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        self.policy.set_training_mode(True)
        self._set_learning_rates()
        means, critics = MetricMeans(), self.policy.critics
        for gradient_step in range(gradient_steps):
            replay_data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)  # type: ignore[union-attr]
            iteration = self._n_updates + gradient_step
            if iteration == 0 and self.score_warmup > 0 and self.policy.distance is None:
                if self.verbose > 0:
                    print(f"Warming up the score estimator: {self.score_warmup} updates")
                self.update_score(self._encode_states(replay_data.observations), self.score_warmup)
            if iteration % CORRECTION_INTERVAL == 0:
                self.update_correction(replay_data.observations)
                means.add(self.entropy_bound(replay_data.observations))
            if critics.updates_actor(iteration + 1):
                means.add(self.update_networks(replay_data, th.full((), float(iteration), device=self.device)))
            else:
                means.add(self.update_critic_alone(replay_data))
            if critics.has_targets and gradient_step % self.target_update_interval == 0:
                polyak_update_foreach(self.critic.parameters(), self.critic_target.parameters(), self.tau)
                polyak_update(self.batch_norm_stats, self.batch_norm_stats_target, 1.0)

        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        values = means.finite(after=f"{self._n_updates} gradient steps")
        for name, value in values.items():
            self.logger.record(f"train/{name}", value)
        if self.policy.correction is not None:
            self.logger.record("train/log_prob_offset", float(self.policy.correction.offset))
        if values.keys() >= {"entropy", "entropy_bound"}:
            excess = values["entropy"] - values["entropy_bound"]
            self.entropy_check.update(excess, max(gradient_steps, CORRECTION_INTERVAL))

    def _set_learning_rates(self) -> None:
        progress = self._current_progress_remaining
        learning_rate = self.lr_schedule(progress)
        self.logger.record("train/learning_rate", learning_rate)
        graphed = isinstance(self.update_networks, GraphedStep)
        self.actor.slow_down(self.actor.optimizer, self._n_updates // self.policy.critics.policy_delay)
        for optimizer in (self.actor.optimizer, self.critic.optimizer, self.ent_coef_optimizer):
            if optimizer is not None:
                set_learning_rate(optimizer, learning_rate, graphed)
        if self.policy.distance is None:
            set_learning_rate(self.estimator.optimizer, self.policy.score_lr_schedule(progress), graphed)

    def update_networks(self, replay_data: ReplayBufferSamples, iteration: th.Tensor) -> dict[str, th.Tensor]:
        """Take a gradient step on everything but the target critics, and return its metrics.

        :param replay_data: Transitions from the replay buffer.
        :param iteration: Number of gradient steps so far, a scalar.
        """
        states = self._encode_states(replay_data.observations)
        metrics = self.update_score(states, self.n_score_updates) if self.policy.distance is None else {}
        metrics |= self.update_critic(replay_data)
        actor_metrics, log_prob = self.update_actor(states, iteration)
        metrics |= actor_metrics
        metrics |= self.update_temperature(log_prob)
        return metrics

    @property
    def ent_coef_value(self) -> th.Tensor:
        """The temperature α, without gradient."""
        return self.ent_coef_tensor if self.log_ent_coef is None else self.log_ent_coef.detach().exp()

    @property
    def _entropy_name(self) -> str:
        """Name of the metric that is minus ``log_prob``."""
        return "entropy" if self.policy.distance is None else "log_distance"

    @property
    def _n_actions(self) -> int:
        """Number of independent actions that a gradient step samples in each state."""
        return 1 if self.policy.distance is None else self.policy.distance.n_actions

    def _encode_states(self, observations: PyTorchObs) -> EncodedStates:
        return self.policy.encode_states(observations)

    def update_score(self, states: EncodedStates, n_updates: int) -> dict[str, th.Tensor]:
        """Update the estimator on fresh samples of the policy, each time in other states of the batch.

        :param states: States from :meth:`SACARDAEPolicy.encode_states`.
        :param n_updates: Number of updates.
        :return: Metrics of the last update.
        """
        for update in range(n_updates):
            first = update * self.score_batch_size
            rows = th.arange(first, first + self.score_batch_size, device=self.device) % len(states.embedding)
            samples, local = self._score_samples(states.embedding[rows].detach(), states.frame.select(rows))
            metrics = self.estimator.step(local, states.features[rows])
        metrics["sample_std"] = samples.std(1).mean()  # the first metric to show a collapsing or diverging policy
        return {f"score_{name}": value for name, value in metrics.items()}

    @th.no_grad()
    def _score_samples(self, embedding: th.Tensor, frame: AffineFrame) -> tuple[th.Tensor, th.Tensor]:
        """Sample actions before tanh, shape (batch, n_action_samples, dim); also return their local coordinates.

        The loss "own_noise" adds the output noise itself.
        """
        outputs = self.actor.generate(embedding, self.actor.sample_noise(embedding, self.n_action_samples))
        if self.estimator.loss != "own_noise":
            outputs = self.actor.add_output_noise(outputs, frame)
        return outputs, frame.to_local(outputs)

    def update_correction(self, observations: PyTorchObs) -> None:
        """Update the correction of the estimated log-density, if the policy has one, in the first of these states.

        :param observations: Observations from the replay buffer.
        """
        if self.policy.correction is not None:
            if isinstance(observations, dict):
                first: PyTorchObs = {key: value[:1] for key, value in observations.items()}
            else:
                first = observations[:1]
            self.policy.set_training_mode(False)  # batch normalization cannot train on a single state
            with th.no_grad():
                state = self.policy.encode_states(first)
            self.policy.correction.update(self.actor, self.estimator, state)
            self.policy.set_training_mode(True)

    def entropy_bound(self, observations: PyTorchObs) -> dict[str, th.Tensor]:
        """Return the Gaussian bound on the mean entropy, as a metric to compare with the estimate.

        There is none without an estimated density, or for a generator without closed-form moments.

        :param observations: Observations from the replay buffer.
        """
        if not self.actor.has_closed_form or self.policy.distance is not None or not self.estimator.has_density:
            return {}
        self.policy.set_training_mode(False)
        bound = self.policy.mean_entropy_bound(observations)
        self.policy.set_training_mode(True)
        return {"entropy_bound": bound}

    def update_critic_alone(self, replay_data: ReplayBufferSamples) -> dict[str, th.Tensor]:
        """Take a gradient step on the critics alone, between the policy updates of critics with a policy delay."""
        return self.update_critic(replay_data)

    def update_critic(self, replay_data: ReplayBufferSamples) -> dict[str, th.Tensor]:
        """Take a gradient step on the critics, and return its metrics."""
        target_q_values, current_q_values, metrics = self.target_q_values(replay_data)
        critic_loss = th.stack([0.5 * F.mse_loss(q, target_q_values) for q in current_q_values]).sum()
        self.critic.optimizer.zero_grad()
        critic_loss.backward()
        self.critic.optimizer.step()
        return metrics | {"critic_loss": critic_loss.detach(), "target_q": target_q_values.mean()}

    @th.no_grad()
    def target_q_values(
        self, replay_data: ReplayBufferSamples
    ) -> tuple[th.Tensor, tuple[th.Tensor, ...], dict[str, th.Tensor]]:
        """Return the targets of the critics, the differentiable Q(s, a) of each critic, and metrics.

        The targets are r + γ (1 - done) (min Q(s', a') - α ln π(a' | s')). Target calibration shifts them by a
        constant. Targets and Q(s, a) have shape (batch, 1).
        """
        metrics = {}
        discounts = replay_data.discounts if replay_data.discounts is not None else self.gamma
        next_states = self.policy.encode_states(replay_data.next_observations)
        pre_tanh = self.actor.sample(next_states.embedding, self._n_actions, next_states.frame)
        next_actions = th.tanh(pre_tanh[:, 0])
        q_values, next_values = self.paired_values(replay_data, next_actions)
        if self.backup_entropy:
            if self.policy.distance is None:
                log_prob = pre_tanh_log_prob(self.estimator, next_states, pre_tanh, self.policy.log_prob_offset)
                log_prob = log_prob - saturation_excess(pre_tanh)
            else:
                log_prob = -self.policy.distance(th.tanh(pre_tanh))
            bonus = -self.ent_coef_value * log_prob
            metrics[self._entropy_name] = -log_prob.mean()
            next_values = next_values + bonus
            if self.calibration is not None:
                self.calibration.update((1 - replay_data.dones) * discounts * bonus)
                next_values = next_values + self.calibration.shift
        target_q_values = replay_data.rewards + (1 - replay_data.dones) * discounts * next_values
        if self.calibration is not None:
            target_q_values = target_q_values - self.calibration.shift
        return target_q_values, q_values, metrics

    # Excluded from compiled functions, because torch.compile is slow with the masks of the critics' ReLUs
    @th.compiler.disable
    def paired_values(
        self, replay_data: ReplayBufferSamples, next_actions: th.Tensor
    ) -> tuple[tuple[th.Tensor, ...], th.Tensor]:
        """Return the differentiable Q(s, a) of each critic, and the smallest Q(s', a'), all of shape (batch, 1)."""
        with th.enable_grad():
            return self.policy.critics.paired_values(self.critic, self.critic_target, replay_data, next_actions)

    def update_actor(
        self, states: EncodedStates, iteration: th.Tensor
    ) -> tuple[dict[str, th.Tensor], th.Tensor | None]:
        """Take a gradient step on the actor.

        :param states: States from :meth:`SACARDAEPolicy.encode_states`.
        :param iteration: Number of gradient steps so far, a scalar.
        :return: Metrics, and the log-density of the sampled actions, shape (batch, 1), or None if nothing needs it and
            it would take extra time.
        """
        with frozen(self.critic.optimizer.param_groups[0]["params"]):
            actor_loss, metrics, log_prob = self._actor_loss(states, iteration)
        self.actor.optimizer.zero_grad()
        actor_loss.backward()
        if self.limit_actor_gradient is not None:
            metrics["actor_gradient_norm"] = self.limit_actor_gradient(self.actor.parameters())
        self.actor.optimizer.step()
        return metrics, log_prob

    def _actor_loss(
        self, states: EncodedStates, iteration: th.Tensor
    ) -> tuple[th.Tensor, dict[str, th.Tensor], th.Tensor | None]:
        """Return a scalar with the gradient of the actor's loss, metrics, and the log-density as in update_actor."""
        noise = self.actor.sample_noise(states.embedding)
        if self.clamping.enabled:
            noise = self.clamping.perturb(noise)
        n_clamped = noise.shape[1]
        if self._n_actions > 1:
            noise = th.cat([noise, self.actor.sample_noise(states.embedding, self._n_actions - 1)], dim=1)
        outputs = self.actor.generate(states.embedding, noise)
        independent = outputs if n_clamped == 1 else th.cat([outputs[:, :1], outputs[:, n_clamped:]], dim=1)
        pre_tanh = self.actor.add_output_noise(independent, states.frame)
        actions = th.tanh(pre_tanh[:, 0])
        values = self.action_value(states.observations, actions)
        entropy, log_prob = self._entropy_term(states, pre_tanh)
        actor_loss = -self.ent_coef_value * entropy - values.mean()
        metrics = {"saturation": (actions.detach().abs() > 0.99).float().mean()}
        if self.clamping.enabled:
            penalty = self.clamping.penalty(noise[:, :n_clamped], outputs[:, :n_clamped])
            actor_loss = actor_loss + self.clamping.weight(iteration) * penalty
            metrics["clamping_penalty"] = penalty.detach()
        # The surrogate's value is meaningless. The loss itself is logged, including the entropy if that is known
        metrics["actor_loss"] = -values.detach().mean()
        if log_prob is not None:
            metrics["actor_loss"] = (self.ent_coef_value * log_prob - values.detach()).mean()
            metrics[self._entropy_name] = -log_prob.mean()
        return actor_loss, metrics, log_prob

    def _entropy_term(self, states: EncodedStates, pre_tanh: th.Tensor) -> tuple[th.Tensor, th.Tensor | None]:
        """Return a scalar with the entropy's gradient, and the log-density as in update_actor.

        If a distance replaces the entropy, its negative replaces the log-density.
        """
        if self.policy.distance is not None:
            log_distance = self.policy.distance(th.tanh(pre_tanh))
            return log_distance.mean(), -log_distance.detach()
        with_log_prob = self.log_ent_coef is not None or self.estimator.density_is_free
        offset = self.policy.log_prob_offset
        score, log_prob = pre_tanh_score(self.estimator, states, pre_tanh, with_log_prob, offset)
        if log_prob is not None:
            log_prob = log_prob - saturation_excess(pre_tanh.detach())
        return entropy_surrogate(pre_tanh, score), log_prob

    @th.compiler.disable
    def action_value(self, observations: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """Return what the actor maximizes besides the entropy: the smallest Q-value, shape (batch, 1)."""
        return self.policy.critics.actor_values(self.critic, observations, actions)

    def update_temperature(self, log_prob: th.Tensor | None) -> dict[str, th.Tensor]:
        """Take a gradient step on the temperature if it is learned, and return its metrics.

        :param log_prob: Log-density of sampled actions, shape (batch, 1).
        """
        if self.log_ent_coef is None or self.ent_coef_optimizer is None:
            return {"ent_coef": self.ent_coef_tensor}
        assert isinstance(self.target_entropy, float) and log_prob is not None
        ent_coef_loss = -(self.log_ent_coef * (log_prob + self.target_entropy)).mean()
        self.ent_coef_optimizer.zero_grad()
        ent_coef_loss.backward()
        self.ent_coef_optimizer.step()
        return {"ent_coef": self.ent_coef_value, "ent_coef_loss": ent_coef_loss.detach()}

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        super().set_parameters(*args, **kwargs)
        for name in _GRAPHED_ON_GPU:
            step = getattr(self, name)
            if isinstance(step, GraphedStep):
                step.reset()  # the optimizers' state has moved to other memory

    def _excluded_save_params(self) -> list[str]:
        networks = ["actor", "critic", "critic_target", "estimator", "calibration", "limit_actor_gradient"]
        others = ["clamping", "entropy_check", *_COMPILED_ON_CPU, *_GRAPHED_ON_GPU]
        return [*super()._excluded_save_params(), *networks, *others]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts = ["policy", "actor.optimizer", "critic.optimizer"]
        if self.policy.distance is None:
            state_dicts.append("estimator.optimizer")
        tensors = []
        if self.ent_coef_optimizer is not None:
            state_dicts.append("ent_coef_optimizer")
            tensors.append("log_ent_coef")
        else:
            tensors.append("ent_coef_tensor")
        state_dicts += [name for name in ("calibration", "limit_actor_gradient") if getattr(self, name) is not None]
        return state_dicts, tensors
