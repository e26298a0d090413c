"""Controllers from other algorithms: train them on latents, and export them as policies on frames."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from ardae_rl.world_models.frame_policy import FramePolicy, State, channels_last
from ardae_rl.world_models.policies import WorldModelPolicy

Array = NDArray[Any]


class WorldModelVecEnv(VecEnvWrapper):
    """An environment with a controller's inputs as observations and its outputs as actions, for SB3 algorithms.

    Example:

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> from stable_baselines3.common.vec_env import DummyVecEnv
    >>> from ardae_rl.world_models import WorldModelPolicy
    >>> from ardae_rl.world_models.latent_control import WorldModelVecEnv
    >>> venv = DummyVecEnv([lambda: gym.make("CarRacing-v3")])
    >>> policy = WorldModelPolicy(
    ...     venv.observation_space, venv.action_space, z_dim=4, vision_width=4, memory_hidden=8
    ... )
    >>> latent_venv = WorldModelVecEnv(venv, policy)
    >>> latent_venv.reset().shape, latent_venv.action_space.shape
    ((1, 12), (2,))

    :param venv: Environments whose observations are frames. They must repeat actions as often as the policy does, see
        :class:`~ardae_envs.action_repeat.ActionRepeat`.
    :param policy: Policy whose vision model and memory are used. They are not trained.
    :raises ValueError: For a policy whose controller sees frames.
    """

    def __init__(self, venv: VecEnv, policy: WorldModelPolicy) -> None:
        if policy.stacked_policy is not None:
            raise ValueError("`policy` must have a controller of latents, got one with controller_input='frames'")
        features = spaces.Box(-np.inf, np.inf, (policy.n_features,), np.float32)
        outputs = spaces.Box(-1.0, 1.0, (policy.action_map.n_outputs,), np.float32)
        super().__init__(venv, features, outputs)
        self.policy = policy
        policy.set_training_mode(False)

    def reset(self) -> NDArray[np.float32]:
        self._memory = self.policy.memory.initial_state(self.num_envs)
        self._z = self._latents(self.venv.reset())
        return self._features()

    def step_async(self, actions: Array) -> None:
        self._actions = self.policy.action_map.actions(actions)
        self.venv.step_async(self._actions)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        with th.no_grad():
            self._memory = self.policy.remember(self._z, self._actions, self._memory)
        if dones.any():
            last = np.stack([infos[i]["terminal_observation"] for i in np.flatnonzero(dones)])
            rows = th.from_numpy(dones).to(self._z.device)
            memory = (self._memory[0][rows], self._memory[1][rows])
            features = self.policy.features(self._latents(last), memory).cpu().numpy()
            for i, row in zip(np.flatnonzero(dones), features, strict=True):
                infos[i]["terminal_observation"] = row
            for part in self._memory:
                part[rows] = 0
        self._z = self._latents(observations)
        return self._features(), rewards, dones, infos

    def _latents(self, observations: Any) -> th.Tensor:
        frames = channels_last(observations, self.policy.observation_space)
        with th.no_grad():
            return self.policy.latents(frames)

    def _features(self) -> NDArray[np.float32]:
        return self.policy.features(self._z, self._memory).cpu().numpy()


class PixelPolicy(FramePolicy):
    """A policy on frames: vision, memory, and an actor that another algorithm trained on their latents.

    :param world_model: Policy whose vision model, memory and action map are used.
    :param actor: SB3 policy for the observations of a :class:`WorldModelVecEnv`.
    :raises ValueError: If the actor's spaces do not fit the world model.
    """

    def __init__(self, world_model: WorldModelPolicy, actor: BasePolicy) -> None:
        super().__init__(world_model.observation_space, world_model.action_space, world_model.action_repeat)
        expected = (world_model.n_features,), (world_model.action_map.n_outputs,)
        shapes = actor.observation_space.shape, actor.action_space.shape
        if shapes != expected:
            raise ValueError(f"`actor` must have observations and actions of shapes {expected}, got {shapes}")
        self.world_model, self.actor = world_model, actor

    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """As in the base class; latents are the posteriors' means, and actions are sampled unless deterministic."""
        model = self.world_model
        with th.no_grad():
            z, before = model.latents(frames), model.memory_state(state, episode_start, len(frames))
            features = model.features(z, before).cpu().numpy()
            outputs, _ = self.actor.predict(features, deterministic=deterministic)
            actions = model.action_map.actions(outputs)
            h, c = model.remember(z, actions, before)
        return actions, (h.cpu().numpy(), c.cpu().numpy())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"world_model": self.world_model, "actor": self.actor}
