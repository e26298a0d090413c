"""Adversarial inverse reinforcement learning: the training loop of a discriminator and a generator."""

import io
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv

from ardae_rl.common.checks import check_count, check_min
from ardae_rl.common.queries import check_observation, check_spaces
from ardae_rl.common.training import MetricMeans
from ardae_rl.irl.cloning import clone_demonstrations, forget_distribution
from ardae_rl.irl.discriminator import Discriminator
from ardae_rl.irl.files import Demonstrations
from ardae_rl.irl.generator import (
    check_same_generator,
    default_argument,
    generator_arguments,
    generator_class_of,
    policy_class_of,
)
from ardae_rl.irl.loading import load_arguments, load_generator
from ardae_rl.irl.preparation import LearnsFromDemonstrations, check_given, check_not_normalized
from ardae_rl.irl.relabelling import empty_replay_buffer
from ardae_rl.irl.reward_nets import RewardNet
from ardae_rl.irl.reward_wrapper import RewardVecEnvWrapper, VecStep
from ardae_rl.irl.rounds import DiscriminatorRounds
from ardae_rl.irl.trajectories import has_absorbing_states
from ardae_rl.irl.transitions import Transitions, concatenate, demonstrated_transitions, make_transitions

SelfIRL = TypeVar("SelfIRL", bound="AdversarialIRL")


class AdversarialIRL(LearnsFromDemonstrations):
    """Learn a reward by training a discriminator to separate demonstrations from the rollouts of a generator.

    The generator is an SB3 algorithm that learns in the environment with the learned reward. The environment's own
    reward remains in ``info["original_reward"]`` and in the logged returns. A round of discriminator updates follows
    every ``disc_interval`` environment steps. Off-policy generators compute the rewards of a batch when it is sampled;
    for on-policy generators, the rewards of a rollout are recomputed before they train on it.

    ``predict`` returns the generator's actions. ``reward_net`` can be used, saved and loaded on its own. Subclasses
    choose the discriminator by the class attribute ``discriminator_class``.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl.irl import AIRL, AdversarialIRL, collect_demonstrations
    >>> issubclass(AIRL, AdversarialIRL)
    True
    >>> demos = collect_demonstrations(SAC("MlpPolicy", "Pendulum-v1"), gym.make("Pendulum-v1"), n_episodes=1)
    >>> model = AIRL("MlpPolicy", "Pendulum-v1", demos, generator=SAC)
    >>> model.discriminator_class.__name__
    'AIRLDiscriminator'

    :param policy: Policy of the generator, by class or name.
    :param env: Environment, whose own reward is not used. It must not contain a VecNormalize, because the learned
        reward has its own scale.
    :param demonstrations: Episodes, or the path or ``minari:ID`` to load them from. None for a model that only acts. In
        an environment with :class:`~ardae_envs.absorbing.AbsorbingState`, they may come from the environment without
        it. They are not saved with the model: pass them to ``load`` to continue training.
    :param generator: SB3 algorithm, by class or by its name in RL Zoo.
    :param generator_kwargs: Keyword arguments of the generator.
    :param reward_kwargs: Keyword arguments of the reward network.
    :param discriminator_kwargs: Further keyword arguments of the discriminator.
    :param disc_learning_rate: Learning rate of the discriminator.
    :param demo_batch_size: Number of demonstration transitions, and of generator transitions, per discriminator update.
    :param disc_interval: Minimum number of environment steps between two rounds of discriminator updates.
    :param n_disc_updates: Number of discriminator updates per round.
    :param weight_decay: Decoupled weight decay of the discriminator (AdamW).
    :param stats_window_size: Number of episodes over which logged returns are averaged.
    :param tensorboard_log: Folder of the TensorBoard log; None for no log.
    :param policy_kwargs: Keyword arguments of the generator's policy.
    :param verbose: Verbosity: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random generators; None for a random one.
    :param device: Device of all networks.
    :param _init_setup_model: Whether to build the networks in the constructor.
    :raises ValueError: For arguments out of range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        name: BasePolicy  # type: ignore[type-abstract]
        for name in ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
    }
    discriminator_class: ClassVar[type[Discriminator[Any]]]

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        generator: str | type[BaseAlgorithm] = "sac",
        generator_kwargs: dict[str, Any] | None = None,
        *,
        reward_kwargs: dict[str, Any] | None = None,
        discriminator_kwargs: dict[str, Any] | None = None,
        disc_learning_rate: float | Schedule = 3e-4,
        demo_batch_size: int = 256,
        disc_interval: int = 200,
        n_disc_updates: int = 50,
        weight_decay: float = 0.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.generator_class: Any = generator_class_of(generator)
        super().__init__(
            policy_class_of(self.generator_class, policy),
            env,
            disc_learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
        )
        # SB3 checks this only for policies given by name, and receives the class here
        if env is not None and isinstance(self.observation_space, spaces.Dict) and policy in ("MlpPolicy", "CnnPolicy"):
            raise ValueError(f"`policy` must be 'MultiInputPolicy' for dictionary observations, got {policy!r}")
        self.demonstrations = demonstrations
        self.generator_kwargs = dict(generator_kwargs or {})
        self.reward_kwargs = dict(reward_kwargs or {})
        self.discriminator_kwargs = dict(discriminator_kwargs or {})
        self.demo_batch_size, self.weight_decay = demo_batch_size, weight_decay
        self.disc_interval, self.n_disc_updates = disc_interval, n_disc_updates
        self.generator: Any = None
        # The serialized generator and its arguments; set only while a model is saved or loaded
        self.generator_state: tuple[bytes, dict[str, Any]] | None = None
        self._changes: dict[str, dict[str, Any]] = {}  # entries of `*_kwargs` that `load` replaces
        self._demos: list[Transitions] = []  # one batch per episode
        self._rollout: list[tuple[Transitions, NDArray[np.float32]]] = []  # of an on-policy generator, with rewards
        self._steps_since_round = 0
        if _init_setup_model:
            self._setup_model()

    # Setup

    def _setup_model(self) -> None:
        for name in ("demo_batch_size", "disc_interval", "n_disc_updates"):
            check_count(name, getattr(self, name))
        check_min("weight_decay", self.weight_decay, 0)
        check_spaces(self)
        if self.generator_state is not None:
            self.generator_kwargs = self.generator_state[1]  # SB3 saves attributes as JSON, with lists for tuples
        for name, changes in self._changes.items():
            setattr(self, name, getattr(self, name) | changes)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        make_discriminator: Any = self.discriminator_class  # constructors of subclasses differ
        self.discriminator: Discriminator[Any] = make_discriminator(
            self.observation_space,
            self.action_space,
            gamma=self.generator_kwargs.get("gamma", default_argument(self.generator_class, "gamma", 0.99)),
            reward_kwargs=self.reward_kwargs,
            batch_size=self.demo_batch_size,
            n_envs=self.n_envs,
            **self.discriminator_kwargs,
        ).to(self.device)
        groups = self.discriminator.parameter_groups()
        self.optimizer = th.optim.AdamW(groups, lr=self.lr_schedule(1), weight_decay=self.weight_decay)
        self._mark_absorbing_states()
        self.generator = self._make_generator() if self.generator_state is None else self._load_generator()
        if isinstance(self.generator, OffPolicyAlgorithm):
            self._relabel_replay_buffer()
        self.policy = self.generator.policy
        self.discriminator.check_generator(self.generator)
        self._steps_since_round = 0
        self._rollout = []
        self._demos = []
        self.demonstrations = demonstrations = self._prepared(self.demonstrations)
        if demonstrations is not None:
            self._demos = demonstrated_transitions(demonstrations, self.reward_net)
            self.reward_net.fit_normalizer(concatenate(self._demos).observations)

    def _make_generator(self) -> Any:
        return self.generator_class(
            self.policy_class,
            None if self.env is None else self._with_learned_reward(self.env),
            policy_kwargs=dict(self.policy_kwargs),  # SB3's SAC adds to it
            seed=self.seed,
            device=self.device,
            verbose=0,
            stats_window_size=self._stats_window_size,
            **self._generator_arguments(),
        )

    def _generator_arguments(self) -> dict[str, Any]:
        needs_density = self.discriminator.needs_density
        return generator_arguments(self.generator_class, self.generator_kwargs, self.observation_space, needs_density)

    def _load_generator(self) -> Any:
        """Return the generator of a saved model, with the arguments that were given to ``load``."""
        assert self.generator_state is not None
        check_same_generator(self.generator, self.generator_class)
        (state, saved), self.generator_state = self.generator_state, None
        arguments = self._generator_arguments()
        changed = {
            name: arguments[name]
            for name, value in self.generator_kwargs.items()
            if name not in saved or saved[name] != value
        }
        env = None if self.env is None else self._with_learned_reward(self.env)
        return load_generator(self.generator_class, state, env, self, changed)

    def _with_learned_reward(self, env: VecEnv) -> RewardVecEnvWrapper:
        check_not_normalized(env)
        return RewardVecEnvWrapper(env, self._step_reward, self.discriminator.start_episodes)

    def _relabel_replay_buffer(self) -> None:
        self.generator.replay_buffer.reward = self.reward

    def _mark_absorbing_states(self) -> None:
        """Tell the reward network whether the environment has an absorbing state; without ``env``, keep what it has."""
        if self.env is not None:
            self.has_absorbing_states = has_absorbing_states(self.env)
            self.reward_net.has_absorbing_state.fill_(self.has_absorbing_states)

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Continue in another environment, as in SB3.

        :param env: Environment with the same spaces, and as many parallel environments.
        :param force_reset: Whether to start new episodes instead of continuing from the last observations.
        :raises ValueError: For other spaces, for a VecNormalize, and for a wrapper that changes the observation space
            around an AbsorbingState. The trainer is then unchanged.
        """
        env = self._wrap_env(env, self.verbose)
        wrapped = self._with_learned_reward(env)
        has_absorbing_states(env)  # refuses an environment before anything changes
        super().set_env(env, force_reset)
        self._mark_absorbing_states()
        if not force_reset:
            wrapped.go_on_from(self.generator._last_obs)
        has_placeholder = self.generator.env is None and isinstance(self.generator, OffPolicyAlgorithm)
        self.generator.set_env(wrapped, force_reset)
        if has_placeholder and self.generator.replay_buffer.size() == 0:
            self.generator.replay_buffer = empty_replay_buffer(self.generator)
            self._relabel_replay_buffer()

    # Use

    @property
    def reward_net(self) -> RewardNet:
        """The network of the learned reward."""
        return self.discriminator.reward_net

    def reward(self, transitions: Transitions) -> th.Tensor:
        """Return the learned rewards as the generator receives them, shape (n,), without gradient."""
        return self.discriminator.reward(transitions, self.generator)

    def clone_demonstrations(self, n_updates: int, batch_size: int = 256, learning_rate: float = 1e-3) -> float:
        """Fit the generator's policy to the demonstrations by maximum likelihood, as a warm start before ``learn``.

        Off-policy generators still act randomly for their first ``learning_starts`` steps.

        :param n_updates: Number of gradient steps.
        :param batch_size: Number of transitions per gradient step.
        :param learning_rate: Learning rate.
        :return: Mean ln π of the demonstrated actions over the last tenth of the updates.
        :raises ValueError: Without demonstrations, and for a generator whose log-density has no gradient, such as
            SACNF and SACARDAE.
        """
        if not self._demos:
            raise ValueError("`demonstrations` must be given for behavioral cloning, got None")
        return clone_demonstrations(self.generator, self._demos, n_updates, batch_size, learning_rate)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """Return the generator's actions, and its state.

        :raises ValueError: For observations that are not finite, or do not belong to the observation space.
        """
        check_observation(observation, self.observation_space)
        actions, state = self.generator.predict(observation, state, episode_start, deterministic)
        return actions, state

    # Training

    def learn(
        self: SelfIRL,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfIRL:
        """Train the generator, with rounds of discriminator updates between its rollouts.

        :param total_timesteps: Number of environment steps.
        :param callback: Callbacks, whose ``model`` is this trainer.
        :param log_interval: Number of episodes (on-policy: rollouts) between two log entries.
        :param tb_log_name: Name of the run in TensorBoard; by default the name of the class.
        :param reset_num_timesteps: Whether to count steps from zero, or to continue the count.
        :param progress_bar: Whether to show a progress bar.
        :raises ValueError: Without demonstrations.
        """
        check_given(self.demonstrations)
        name = tb_log_name or type(self).__name__
        if not self._custom_logger:
            self._logger = utils.configure_logger(self.verbose, self.tensorboard_log, name, reset_num_timesteps)
        if reset_num_timesteps:
            self.num_timesteps = self._steps_since_round = 0
        self._total_timesteps = self.num_timesteps + total_timesteps  # callbacks see it, as in SB3
        self.generator.set_logger(self.logger)
        rounds = DiscriminatorRounds(self, self._init_callback(callback, progress_bar))
        self.generator.learn(total_timesteps, rounds, log_interval, name, reset_num_timesteps)
        self.num_timesteps = self.generator.num_timesteps
        forget_distribution(self.policy)
        return self

    def start_rollout(self) -> None:
        """Forget the previous rollout, and expose the generator's episode statistics to callbacks."""
        self._rollout.clear()
        self.ep_info_buffer = self.generator.ep_info_buffer
        self.ep_success_buffer = self.generator.ep_success_buffer

    def report_progress(self, num_timesteps: int, progress_remaining: float) -> None:
        """Set the counters that schedules, callbacks and the log use."""
        self.num_timesteps, self._current_progress_remaining = num_timesteps, progress_remaining

    def finish_rollout(self, last_values: th.Tensor | None, dones: NDArray[np.bool_]) -> None:
        """Train the discriminator if a round is due, and update the rewards of an on-policy rollout.

        :param last_values: Values of the states after an on-policy rollout, shape (n_envs, 1).
        :param dones: Whether those states start new episodes, shape (n_envs,).
        """
        if self._steps_since_round < self.disc_interval or not self.discriminator.is_ready(self.generator):
            return
        self._steps_since_round = 0
        self.train_discriminator()
        if isinstance(self.generator, OnPolicyAlgorithm):
            assert last_values is not None
            self._relabel_rollout(last_values, dones)

    def dump_logs(self) -> None:
        """Write the log, as the generator does after each ``log_interval``."""
        self.generator.dump_logs()

    def train_discriminator(self) -> None:
        """Run one round of discriminator updates."""
        self.reward_net.train()
        rate = self.lr_schedule(self._current_progress_remaining)
        utils.update_learning_rate(self.optimizer, rate)
        demos, samples = self.discriminator.training_data(self._demos, self.generator)
        self.discriminator.start_round()
        means = MetricMeans()
        for _ in range(self.n_disc_updates):
            loss, metrics = self.discriminator.loss(demos, samples, self.generator)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            means.add({"loss": loss.detach()} | metrics)
        self.reward_net.eval()
        after = self.discriminator.finish_round(demos, samples)
        results = means.finite(f"{self.num_timesteps} steps") | {name: value.item() for name, value in after.items()}
        for name, value in {"learning_rate": rate, **results}.items():
            self.logger.record(f"discriminator/{name}", value)

    def _step_reward(self, step: VecStep) -> NDArray[np.float32]:
        """Return the learned rewards of a step, and store the step for the discriminator."""
        transitions = make_transitions(
            self.reward_net, step.observations, step.actions, step.next_observations, step.terminated
        )
        self.discriminator.record(transitions, step.terminated | step.truncated, self.generator)
        self._steps_since_round += len(step.actions)
        reward: NDArray[np.float32] = self.reward(transitions).cpu().numpy()
        if isinstance(self.generator, OnPolicyAlgorithm):
            self._rollout.append((transitions, reward.copy()))  # SB3 adds the values of truncated states in place
        return reward

    def _relabel_rollout(self, last_values: th.Tensor, dones: NDArray[np.bool_]) -> None:
        """Replace the rewards of an on-policy rollout by those of the updated reward network."""
        buffer = self.generator.rollout_buffer
        for row, (transitions, old_reward) in zip(buffer.rewards, self._rollout, strict=True):
            row += self.reward(transitions).cpu().numpy() - old_reward
        buffer.compute_returns_and_advantage(last_values, dones)

    # Saving

    @property
    def replay_buffer(self) -> Any:
        """The replay buffer of an off-policy generator; None for an on-policy one."""
        return getattr(self.generator, "replay_buffer", None)

    def save_replay_buffer(self, path: Any) -> None:
        """Save the replay buffer of an off-policy generator."""
        self.generator.save_replay_buffer(path)

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        """Load the replay buffer of an off-policy generator. Rewards are computed when transitions are sampled.

        :param path: Path of the file.
        :param truncate_last_traj: Whether a hindsight replay buffer ends its last episode at the last stored step.
        :raises ValueError: If the discriminator needs the densities of the policies that filled the buffer, which are
            not saved.
        """
        self.discriminator.check_loaded_replay()
        self.generator.load_replay_buffer(path, truncate_last_traj)
        self._relabel_replay_buffer()

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return the parameters by name, as in SB3; those of the generator are under "generator"."""
        own = super().get_parameters()
        saving = self.generator_state is not None  # which contains the generator's parameters
        return own if saving else own | {"generator": self.generator.get_parameters()}

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: th.device | str = "auto"
    ) -> None:
        """Set the parameters, as in SB3.

        :param load_path_or_dict: Parameters as ``get_parameters`` returns them, or the path of a saved model.
        :param exact_match: Whether all parameters must be given.
        :param device: Device to load them to.
        :raises ValueError: For unknown names, and for missing ones if ``exact_match``.
        """
        if not isinstance(load_path_or_dict, dict):
            load_path_or_dict = type(self).load(load_path_or_dict, device=device).get_parameters()
        own = {name: part for name, part in load_path_or_dict.items() if name != "generator"}
        super().set_parameters(own, exact_match, device)
        if "generator" in load_path_or_dict:
            self.generator.set_parameters(load_path_or_dict["generator"], exact_match, device)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Save the model, including the generator in the format of its own ``save``.

        The demonstrations, the replay buffer and the discriminator's recent samples are not saved. Pass the
        demonstrations to ``load`` to continue training.
        """
        file = io.BytesIO()
        self.generator.save(file)
        self.generator_state = file.getvalue(), self.generator_kwargs
        try:
            super().save(path, exclude, include)
        finally:
            self.generator_state = None

    @classmethod
    def load(
        cls: type[SelfIRL],
        path: Any,
        env: GymEnv | None = None,
        device: th.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfIRL:
        """Load a model, optionally with changed arguments. Others, and other entries of dictionaries, stay as saved.

        The discriminator's recent samples are not saved: its first rounds after ``load`` train on samples collected
        since then.

        :param path: Path of the file, or a file object.
        :param env: Environment to continue training in. Without one, the model can act; it can train after ``set_env``.
        :param device: Device of all networks.
        :param custom_objects: Values for attributes that cannot be read from the file.
        :param print_system_info: Whether to print the versions that the model was saved with.
        :param force_reset: Whether to start new episodes instead of continuing from the last observations.
        :param kwargs: Keyword arguments of the constructor; ``learning_rate`` means ``disc_learning_rate``.
        :raises ValueError: For unknown arguments, and for networks that differ from the saved ones.
        """
        attributes, changes = load_arguments(cls, AdversarialIRL, kwargs)
        try:
            model = super().load(
                path, env, device, custom_objects, print_system_info, force_reset, _changes=changes, **attributes
            )
        except (RuntimeError, KeyError) as error:
            # If the optimizer refuses its state, SB3 looks for the optimizer of a policy, and there is none
            cause = error.__context__ if error.args == ("policy.optimizer",) else error
            if cause is error and "state_dict" not in str(error):
                raise
            raise ValueError(
                "`reward_kwargs` and `discriminator_kwargs` must be those of the saved model's networks, got others: "
                + " ".join(str(cause).split())
            ) from cause
        model._changes = {}
        model.optimizer.param_groups[0]["weight_decay"] = model.weight_decay
        model.discriminator.limit_actions()
        if model.env is not None:
            model.set_env(model.env, force_reset)
        return model

    def _excluded_save_params(self) -> list[str]:
        data = ["demonstrations", "_demos", "_rollout", "_changes"]
        return [*super()._excluded_save_params(), "generator", "discriminator", "optimizer", *data]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["discriminator", "optimizer"], []
