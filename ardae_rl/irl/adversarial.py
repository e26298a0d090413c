"""What adversarial methods of inverse reinforcement learning have in common: a generator, demonstrations, a reward."""

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common import utils
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from ardae_rl.common.checks import check_positive
from ardae_rl.common.training import MetricMeans
from ardae_rl.irl.log_density import has_density, policy_log_prob
from ardae_rl.irl.relabelling import Relabelling, RewardVecEnvWrapper, Step, Transitions, relabelling_buffer
from ardae_rl.irl.reward_nets import RewardNet
from ardae_rl.irl.trajectories import Trajectory, joined, load_trajectories, rows
from ardae_rl.registry import algorithm_class

SelfIRL = TypeVar("SelfIRL", bound="AdversarialIRL")
Demonstrations = Sequence[Trajectory] | Path | str


class AdversarialIRL(BaseAlgorithm):
    """Learns a reward from demonstrations, by telling them from what a generator does that maximises the reward.

    The generator is an algorithm of SB3 that learns in the environment with the reward in the place of its own, which
    stays in ``info["original_reward"]`` and in the returns that are logged. After every ``n_steps`` steps the
    discriminator has its turn. Off-policy algorithms have rewards computed whenever transitions are drawn from their
    buffer; on-policy ones have their rollout's rewards computed anew before they train on it.

    ``predict`` is the generator's; ``reward_net`` can be used, saved and loaded alone.

    :param policy: of the generator
    :param env: the environment; its own reward is not used. No VecNormalize: the reward has units of its own
    :param demonstrations: episodes, or the path or ``minari:ID`` of such; None for a model that only acts
    :param generator: an algorithm, or its name for RL Zoo
    :param generator_kwargs: its arguments
    :param learning_rate: of the discriminator
    :param batch_size: of demonstrations, and as many of the generator's samples, in a step of the discriminator
    :param n_steps: steps of the environment from one turn of the discriminator to the next
    :param gradient_steps: of the discriminator in a turn
    :param weight_decay: of the discriminator's networks
    :param action_margin: of half the range of actions, which they are kept off its bounds by where ln π is asked for
    :param reward_kwargs: of the reward network
    :raises ValueError: for arguments outside of what is accepted
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        name: BasePolicy  # type: ignore[type-abstract]
        for name in ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
    }
    needs_density: ClassVar[bool] = True
    reward_net: RewardNet
    optimizer: th.optim.Optimizer

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None,
        generator: str | type[BaseAlgorithm],
        generator_kwargs: dict[str, Any] | None,
        learning_rate: float | Schedule,
        *,
        batch_size: int,
        n_steps: int,
        gradient_steps: int,
        weight_decay: float,
        action_margin: float,
        reward_kwargs: dict[str, Any] | None,
        stats_window_size: int,
        tensorboard_log: str | None,
        policy_kwargs: dict[str, Any] | None,
        verbose: int,
        seed: int | None,
        device: th.device | str,
    ) -> None:
        self.generator_class: Any = algorithm_class(generator, "generator") if isinstance(generator, str) else generator
        if isinstance(policy, str):
            if policy not in self.generator_class.policy_aliases:
                accepted = ", ".join(self.generator_class.policy_aliases)
                raise ValueError(f"policy={policy!r}: accepted with this generator are {accepted}")
            policy = self.generator_class.policy_aliases[policy]
        super().__init__(
            policy,
            env,
            learning_rate,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete),
        )
        if isinstance(demonstrations, (str, Path)):
            demonstrations = load_trajectories(demonstrations)
        self.demonstrations = None if demonstrations is None else list(demonstrations)
        self.generator_kwargs = dict(generator_kwargs or {})
        self.batch_size, self.n_steps, self.gradient_steps = batch_size, n_steps, gradient_steps
        self.weight_decay, self.action_margin = weight_decay, action_margin
        self.reward_kwargs = dict(reward_kwargs or {})
        self.generator_state: dict[str, Any] | None = None

    # What a method is

    @abstractmethod
    def _make_reward_net(self) -> RewardNet:
        """On the host."""

    @abstractmethod
    def reward(self, transitions: Transitions) -> th.Tensor:
        """What the generator maximises, (n), without gradient."""

    @abstractmethod
    def _record(self, step: Step) -> None:
        """Take note of what the generator does."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether there are samples enough for the discriminator."""

    @abstractmethod
    def _discriminator_step(self) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """A loss to descend, and metrics."""

    def _parameters(self) -> list[th.nn.Parameter]:
        """Of the discriminator."""
        return list(self.reward_net.parameters())

    def _extra_modules(self) -> list[str]:
        """Names of attributes with a state, beside ``reward_net``."""
        return []

    def _before_turn(self) -> None:
        """What stays the same during a turn of the discriminator."""

    # Setting up

    def _setup_model(self) -> None:
        for name in ("batch_size", "n_steps", "gradient_steps"):
            check_positive(name, getattr(self, name))
        if not 0 < self.action_margin < 1:
            raise ValueError(f"action_margin={self.action_margin!r}: accepted are numbers between 0 and 1")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay!r}: accepted are numbers from 0 up")
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        self.reward_net = self._make_reward_net().to(self.device)
        self.optimizer = th.optim.Adam(self._parameters(), lr=self.lr_schedule(1), weight_decay=self.weight_decay)
        self.generator = self._make_generator()
        self.policy = self.generator.policy
        if self.needs_density and not has_density(self.generator):
            raise ValueError(
                f"generator={self.generator_class.__name__}: accepted are those whose policy has a density"
            )
        self._steps_since_turn = 0
        self._rollout: list[tuple[Transitions, NDArray[np.float32]]] = []
        if self.demonstrations is not None:
            self._take_demonstrations(self.demonstrations)

    def _take_demonstrations(self, demonstrations: list[Trajectory]) -> None:
        """Keep them as tensors, and have the reward network's inputs in their units."""
        if not demonstrations:
            raise ValueError("demonstrations: none; accepted are one or more trajectories")
        for trajectory in demonstrations:
            if trajectory.actions.shape[1:] != self.action_space.shape:
                raise ValueError(
                    f"demonstrations with actions of shape {trajectory.actions.shape[1:]}: accepted is "
                    f"{self.action_space.shape}, as the environment has it"
                )
        self.expert = self._tensors(
            joined(rows(trajectory.observations, slice(0, -1)) for trajectory in demonstrations),
            np.concatenate([trajectory.actions for trajectory in demonstrations]),
            joined(rows(trajectory.observations, slice(1, None)) for trajectory in demonstrations),
            np.concatenate([trajectory.ends for trajectory in demonstrations]),
        )
        observe = getattr(self.reward_net, "observe", None)
        if observe is not None:
            observe(self.expert.observations)

    def _make_generator(self) -> Any:
        wrapped = None if self.env is None else self._with_learned_reward(self.env)
        arguments = self._generator_arguments()
        generator = self.generator_class(
            self.policy_class,
            wrapped,
            policy_kwargs=self.policy_kwargs,
            seed=self.seed,
            device=self.device,
            verbose=0,
            stats_window_size=self._stats_window_size,
            _init_setup_model=False,
            **arguments,
        )
        if self.generator_state is not None:  # of a saved model; its environment begins anew
            generator.__dict__.update(self.generator_state | {"_last_obs": None, "n_envs": self.n_envs})
            self.generator_state = None
            if self.env is None and isinstance(generator, OffPolicyAlgorithm):
                generator.buffer_size = 1  # it only acts
        generator._setup_model()
        if isinstance(generator, OffPolicyAlgorithm):
            assert isinstance(generator.replay_buffer, Relabelling)
            generator.replay_buffer.reward = self.reward
        return generator

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        super().set_env(env, force_reset)
        assert self.env is not None
        self.generator.set_env(self._with_learned_reward(self.env), force_reset)

    def _with_learned_reward(self, env: VecEnv) -> RewardVecEnvWrapper:
        if unwrap_vec_normalize(env) is not None:
            raise ValueError("env has a VecNormalize: accepted are environments without one")
        return RewardVecEnvWrapper(env, self._reward_of_step)

    def _generator_arguments(self) -> dict[str, Any]:
        """With buffers that relabel, and the temperature that the equivalence with maximum entropy needs."""
        arguments = dict(self.generator_kwargs)
        if issubclass(self.generator_class, OffPolicyAlgorithm):
            if arguments.get("n_steps", 1) != 1:
                raise ValueError(f"generator_kwargs['n_steps']={arguments['n_steps']!r}: accepted is 1")
            given = arguments.get("replay_buffer_class")
            arguments["replay_buffer_class"] = relabelling_buffer(given, self.observation_space)
        elif not issubclass(self.generator_class, OnPolicyAlgorithm):
            raise ValueError(
                f"generator={self.generator_class.__name__}: accepted are algorithms that learn by gradients"
            )
        if self.needs_density and "ent_coef" in inspect.signature(self.generator_class).parameters:
            wanted = 1.0 if issubclass(self.generator_class, OffPolicyAlgorithm) else 0.0
            if arguments.setdefault("ent_coef", wanted) != wanted:
                warnings.warn(
                    f"generator_kwargs['ent_coef']={arguments['ent_coef']!r}: the reward is learnt for a generator "
                    f"that maximises its sum with the entropy, which takes ent_coef={wanted}",
                    stacklevel=4,
                )
        return arguments

    # Learning

    def learn(
        self: SelfIRL,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfIRL:
        """The generator's ``learn``, with the discriminator's turns in it.

        :param tb_log_name: by default the name of the class
        :raises ValueError: without demonstrations
        """
        if self.demonstrations is None:
            raise ValueError("demonstrations=None: accepted for learning are trajectories, or where to find them")
        name = tb_log_name or type(self).__name__
        if not self._custom_logger:
            self._logger = utils.configure_logger(self.verbose, self.tensorboard_log, name, reset_num_timesteps)
        if reset_num_timesteps:
            self.num_timesteps = self._steps_since_turn = 0
        self.generator.set_logger(self.logger)
        relay = _Turns(self, self._init_callback(callback, progress_bar))
        self.generator.learn(total_timesteps, relay, log_interval, name, reset_num_timesteps)
        self.num_timesteps = self.generator.num_timesteps
        return self

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        actions, state = self.generator.predict(observation, state, episode_start, deterministic)
        return actions, state

    def train_discriminator(self) -> None:
        """A turn of the discriminator."""
        self.reward_net.train()
        self._update_learning_rate(self.optimizer)
        self._before_turn()
        means = MetricMeans()
        for _ in range(self.gradient_steps):
            loss, metrics = self._discriminator_step()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            means.add({"loss": loss.detach()} | metrics)
        self.reward_net.eval()
        for name, value in means.finite(f"{self.num_timesteps} steps").items():
            self.logger.record(f"discriminator/{name}", value)

    def _reward_of_step(self, step: Step) -> NDArray[np.float32]:
        """Of environments side by side; and a note of what they did."""
        self._record(step)
        self._steps_since_turn += len(step.actions)
        transitions = self._tensors(step.observations, step.actions, step.next_observations, step.terminated)
        reward: NDArray[np.float32] = self.reward(transitions).cpu().numpy()
        if isinstance(self.generator, OnPolicyAlgorithm):
            self._rollout.append((transitions, reward.copy()))  # SB3 adds the values of cut-off states to what it gets
        return reward

    def _relabel_rollout(self, last_values: th.Tensor, dones: NDArray[np.bool_]) -> None:
        """Put the rewards of the newest reward network into an on-policy algorithm's rollout."""
        buffer = self.generator.rollout_buffer
        for row, (transitions, before) in zip(buffer.rewards, self._rollout, strict=True):
            row += self.reward(transitions).cpu().numpy() - before
        buffer.compute_returns_and_advantage(last_values, dones)

    def _tensors(self, observations: Any, actions: Any, next_observations: Any, terminated: Any) -> Transitions:
        tensors = [self.reward_net.obs_to_tensor(part)[0] for part in (observations, next_observations)]
        ends = th.as_tensor(np.asarray(terminated), dtype=th.float32, device=self.device)
        return Transitions(tensors[0], th.as_tensor(np.asarray(actions), device=self.device), tensors[1], ends)

    def _log_prob(self, transitions: Transitions) -> th.Tensor:
        """ln π of the generator as it is, (n)."""
        return policy_log_prob(self.generator, transitions.observations, transitions.actions, self.action_margin)

    # Saving

    def save_replay_buffer(self, path: Any) -> None:
        """The generator's, as SB3's off-policy algorithms do."""
        self.generator.save_replay_buffer(path)

    def load_replay_buffer(self, path: Any) -> None:
        """The generator's; its rewards are computed anew when they are drawn."""
        self.generator.load_replay_buffer(path)
        self.generator.replay_buffer.reward = self.reward

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        hidden = {*self.generator._excluded_save_params(), "policy_class", "env", "device", "_logger", "_custom_logger"}
        hidden |= {name.split(".")[0] for part in self.generator._get_torch_save_params() for name in part}
        kept = {name: value for name, value in self.generator.__dict__.items() if name not in hidden}
        self.generator_state = kept
        super().save(path, exclude, include)
        self.generator_state = None

    def _excluded_save_params(self) -> list[str]:
        own = ["generator", "reward_net", "optimizer", "expert", *self._extra_modules()]
        return [*super()._excluded_save_params(), *own]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts, tensors = self.generator._get_torch_save_params()
        own = ["reward_net", "optimizer", *self._extra_modules()]
        return [*own, *(f"generator.{name}" for name in state_dicts)], [f"generator.{name}" for name in tensors]


class _Turns(BaseCallback):
    """In the generator's training: the discriminator's turns, and the callbacks of who trains both."""

    def __init__(self, trainer: AdversarialIRL, inner: BaseCallback) -> None:
        super().__init__()
        self.trainer, self.inner = trainer, inner

    def _on_training_start(self) -> None:
        self.inner.on_training_start(self.locals, self.globals)

    def _on_rollout_start(self) -> None:
        self.trainer._rollout.clear()
        self.inner.on_rollout_start()

    def _on_step(self) -> bool:
        self.trainer.num_timesteps = self.num_timesteps
        self.trainer._current_progress_remaining = self.model._current_progress_remaining
        self.inner.update_locals(self.locals)
        return self.inner.on_step()

    def _on_rollout_end(self) -> None:
        trainer = self.trainer
        if trainer._steps_since_turn >= trainer.n_steps and trainer._ready():
            trainer._steps_since_turn = 0
            trainer.train_discriminator()
            if isinstance(self.model, OnPolicyAlgorithm):
                trainer._relabel_rollout(self.locals["values"], self.locals["dones"])
        self.inner.update_locals(self.locals)
        self.inner.on_rollout_end()

    def _on_training_end(self) -> None:
        self.inner.on_training_end()
