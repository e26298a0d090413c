"""Soft Q imitation learning (Reddy, Dragan and Levine 2020): reward 1 for demonstrations, and 0 for all else."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import maybe_transpose
from stable_baselines3.common.type_aliases import GymEnv, ReplayBufferSamples
from stable_baselines3.sac.policies import SACPolicy

from ardae_rl.common.algorithms import NamedAlgorithm
from ardae_rl.common.copies import deep_copy
from ardae_rl.common.queries import CheckedPredictions, check_spaces
from ardae_rl.irl.files import Demonstrations
from ardae_rl.irl.preparation import LearnsFromDemonstrations, check_given
from ardae_rl.irl.trajectories import Trajectory


class DemonstrationReplayBuffer(ReplayBuffer):
    """Replay buffer whose batches are half demonstrations with reward 1 and half stored transitions with reward 0.

    The arguments are those of SB3's replay buffer.
    """

    demonstrations: ReplayBuffer | None = None  # must be set before sampling

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        """Sample a batch.

        :raises RuntimeError: If ``demonstrations`` has not been set.
        """
        if self.demonstrations is None:
            raise RuntimeError("`demonstrations` must be set before a batch is sampled, got None")
        n_demos = batch_size // 2
        stored = super().sample(batch_size - n_demos, env)
        demos = self.demonstrations.sample(n_demos, env)
        rewards = th.cat([th.ones_like(demos.rewards), th.zeros_like(stored.rewards)])
        # Discounts of n-step returns are None here
        parts: Any = (
            None if demo is None or own is None else th.cat([demo, own])
            for demo, own in zip(demos, stored, strict=True)
        )
        return ReplayBufferSamples(*parts)._replace(rewards=rewards)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "demonstrations"}

    def __deepcopy__(self, memo: dict[int, Any]) -> "DemonstrationReplayBuffer":
        return deep_copy(self, memo)


class SQIL(LearnsFromDemonstrations, CheckedPredictions, NamedAlgorithm, SAC):
    """Soft Q imitation learning: SAC on batches of half demonstrations (reward 1), half own transitions (reward 0).

    It is a simple baseline that learns in the environment, but learns no reward that could be used elsewhere. Monitors
    and logs show the environment's own rewards.

    Reference: Reddy, Dragan and Levine (2020), SQIL: imitation learning via reinforcement learning with sparse rewards,
    https://arxiv.org/abs/1905.11108.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl import SQIL
    >>> from ardae_rl.irl import collect_demonstrations
    >>> expert = SAC("MlpPolicy", "Pendulum-v1")  # train it first
    >>> demos = collect_demonstrations(expert, gym.make("Pendulum-v1"), n_episodes=1)
    >>> model = SQIL("MlpPolicy", "Pendulum-v1", demos, learning_starts=50).learn(100)
    >>> action, _ = model.predict(model.get_env().reset())

    :param policy: Policy, by class or name.
    :param env: Environment, whose own reward is not used.
    :param demonstrations: Episodes, or the path or ``minari:ID`` to load them from. None for a model that only acts. In
        an environment with :class:`~ardae_envs.absorbing.AbsorbingState`, they may come from the environment without
        it. They are not saved with the model: pass them to ``load`` to continue training.
    :param kwargs: Keyword arguments of SAC, except ``replay_buffer_class`` and ``n_steps``.
    :raises ValueError: For dictionary observations, for unusable demonstrations, and for ``learn`` without any.
    """

    def __init__(
        self,
        policy: str | type[SACPolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("replay_buffer_class") is not None:
            raise ValueError(f"`replay_buffer_class` must be None, got {kwargs['replay_buffer_class']!r}")
        if kwargs.get("n_steps", 1) != 1:
            raise ValueError(f"`n_steps` must be 1, got {kwargs['n_steps']!r}")
        self.algorithm = "sqil"  # saved with the model
        self.demonstrations = demonstrations
        kwargs["policy_kwargs"] = dict(kwargs.get("policy_kwargs") or {})  # SB3's SAC adds to it
        super().__init__(policy, env, **kwargs)  # type: ignore[arg-type]

    def _setup_model(self) -> None:
        check_spaces(self)
        self.replay_buffer_class = DemonstrationReplayBuffer
        if isinstance(self.observation_space, spaces.Dict):
            raise ValueError("`env` must have array observations, got a dictionary")
        super()._setup_model()
        self.demonstrations = demonstrations = self._prepared(self.demonstrations)
        self._demonstration_buffer = None if demonstrations is None else self._filled_buffer(demonstrations)
        self._set_demonstrations()

    def _set_demonstrations(self) -> None:
        assert isinstance(self.replay_buffer, DemonstrationReplayBuffer)
        self.replay_buffer.demonstrations = self._demonstration_buffer

    def _filled_buffer(self, demonstrations: list[Trajectory]) -> ReplayBuffer:
        """Return a replay buffer of the demonstrated transitions, with actions in [-1, 1] as SAC stores them."""
        n = sum(len(trajectory) for trajectory in demonstrations)
        buffer = ReplayBuffer(n, self.observation_space, self.action_space, self.device)
        for trajectory in demonstrations:
            observations: Any = maybe_transpose(trajectory.observations, self.observation_space)  # type: ignore[arg-type]
            actions = self.policy.scale_action(trajectory.actions)
            rows = zip(observations[:-1], observations[1:], actions, trajectory.terminations, strict=True)
            for observation, next_observation, action, terminated in rows:
                reward, done = np.ones(1), np.array([terminated])
                buffer.add(observation[None], next_observation[None], action[None], reward, done, [{}])
        return buffer

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        check_given(self.demonstrations)
        return super()._setup_learn(*args, **kwargs)

    def load_replay_buffer(self, path: Any, truncate_last_traj: bool = True) -> None:
        super().load_replay_buffer(path, truncate_last_traj)
        self._set_demonstrations()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "demonstrations", "_demonstration_buffer"]
