"""Behavioral cloning: maximum likelihood of the demonstrated actions, without steps in the environment."""

from typing import Any, ClassVar, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common import utils
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule

from ardae_rl.common.callbacks import ShowSteps, callback_list
from ardae_rl.common.checks import check_count
from ardae_rl.common.queries import CheckedPredictions, check_spaces
from ardae_rl.common.training import MetricMeans
from ardae_rl.irl.cloning import likelihood_step
from ardae_rl.irl.files import Demonstrations
from ardae_rl.irl.preparation import LearnsFromDemonstrations, check_given, check_not_normalized
from ardae_rl.irl.transitions import concatenate, demonstrated_transitions
from ardae_rl.runs import progress

SelfBC = TypeVar("SelfBC", bound="BC")


class BC(LearnsFromDemonstrations, CheckedPredictions):
    """Behavioral cloning of demonstrations with SB3's actor-critic policy, whose critic is not used.

    ``learn`` takes no steps in the environment: its time steps are gradient steps. With many demonstrations it is a
    strong baseline; with few, its errors compound over an episode.

    Reference: Pomerleau (1991), Efficient training of artificial neural networks for autonomous navigation, Neural
    Computation 3(1).

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl import BC
    >>> from ardae_rl.irl import collect_demonstrations
    >>> expert = SAC("MlpPolicy", "Pendulum-v1")  # train it first
    >>> demos = collect_demonstrations(expert, gym.make("Pendulum-v1"), n_episodes=1)
    >>> model = BC("MlpPolicy", "Pendulum-v1", demos).learn(100)
    >>> action, _ = model.predict(model.get_env().reset())

    :param policy: Policy, by class or name.
    :param env: Environment of the demonstrations, used for its spaces and by callbacks that evaluate.
    :param demonstrations: Episodes, or the path or ``minari:ID`` to load them from. None for a model that only acts.
    :param learning_rate: Learning rate of Adam.
    :param batch_size: Number of transitions per gradient step.
    :param stats_window_size: As in SB3; it has no effect, because training has no episodes.
    :param tensorboard_log: Folder of the TensorBoard log; None for no log.
    :param policy_kwargs: Keyword arguments of the policy.
    :param verbose: Verbosity: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random generators; None for a random one.
    :param device: Device of the policy.
    :param _init_setup_model: Whether to build the policy in the constructor.
    :raises ValueError: For arguments out of range.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": ActorCriticPolicy,
        "CnnPolicy": ActorCriticCnnPolicy,
        "MultiInputPolicy": MultiInputActorCriticPolicy,
    }
    policy: ActorCriticPolicy

    def __init__(
        self,
        policy: str | type[ActorCriticPolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        *,
        learning_rate: float | Schedule = 1e-3,
        batch_size: int = 256,
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
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
        )
        self.algorithm = "bc"  # saved with the model
        self.demonstrations = demonstrations
        self.batch_size = batch_size
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_count("batch_size", self.batch_size)
        check_not_normalized(self.env)
        check_spaces(self)
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        policy: Any = self.policy_class(
            self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs
        )
        self.policy = policy.to(self.device)
        self.demonstrations = demonstrations = self._prepared(self.demonstrations)
        if demonstrations is not None:
            self._transitions = concatenate(demonstrated_transitions(demonstrations, self.policy))

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """As in SB3.

        :raises ValueError: For other spaces, and for a VecNormalize.
        """
        env = self._wrap_env(env, self.verbose)
        check_not_normalized(env)
        super().set_env(env, force_reset)

    def learn(
        self: SelfBC,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 100,
        tb_log_name: str = "BC",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfBC:
        """Train the policy.

        :param total_timesteps: Number of gradient steps.
        :param callback: Callbacks, which are called after every gradient step.
        :param log_interval: Number of gradient steps between two log entries.
        :param tb_log_name: Name of the run in TensorBoard.
        :param reset_num_timesteps: Whether to count steps from zero, or to continue the count.
        :param progress_bar: Whether to show a progress bar.
        :raises ValueError: Without demonstrations.
        """
        check_given(self.demonstrations)
        if not self._custom_logger:
            self._logger = utils.configure_logger(self.verbose, self.tensorboard_log, tb_log_name, reset_num_timesteps)
        self.num_timesteps = 0 if reset_num_timesteps else self.num_timesteps
        self._total_timesteps = total_timesteps = self.num_timesteps + total_timesteps  # callbacks see it, as in SB3
        with progress.progress_bar("gradient steps", self._total_timesteps, progress_bar) as update:
            callback = self._init_callback([*callback_list(callback), ShowSteps(update)])
            callback.on_training_start(locals(), globals())
            means = MetricMeans()
            while self.num_timesteps < self._total_timesteps:
                self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
                means.add({"log_prob": self._update()})
                self.num_timesteps += 1
                if self.num_timesteps % log_interval == 0:
                    self._log(means)
                    means = MetricMeans()
                callback.update_locals(locals())
                if not callback.on_step():
                    break
            self._log(means)
            callback.on_training_end()
        return self

    def _update(self) -> th.Tensor:
        """Take a gradient step and return the mean ln π of the batch."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        log_prob = likelihood_step(self, self._transitions, self.policy.optimizer, self.batch_size)
        self.policy.set_training_mode(False)
        return log_prob

    def _log(self, means: MetricMeans) -> None:
        metrics = means.finite(f"{self.num_timesteps} gradient steps")
        if not metrics:
            return
        for name, value in metrics.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "demonstrations", "_transitions"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
