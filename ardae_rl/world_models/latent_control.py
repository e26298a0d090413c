"""Other algorithms as controllers: latents as observations, and the way back to frames."""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from ardae_rl.world_models.frame_policy import FramePolicy, State, channels_last
from ardae_rl.world_models.policies import WorldModelPolicy

Array = NDArray[Any]


class WorldModelVecEnv(VecEnvWrapper):
    """What the controller of World Models sees, as a Box, and its outputs as actions: for any SB3 algorithm.

    :param venv: with frames as observations; of environments that repeat actions as the policy does, see
        :class:`~ardae_envs.action_repeat.ActionRepeat`
    :param policy: its vision and memory are used, and not trained
    :param deterministic: whether latents are posteriors' means, not draws
    """

    def __init__(self, venv: VecEnv, policy: WorldModelPolicy, deterministic: bool = True) -> None:
        features = spaces.Box(-np.inf, np.inf, (policy.n_features,), np.float32)
        outputs = spaces.Box(-1.0, 1.0, (policy.action_map.n_outputs,), np.float32)
        super().__init__(venv, features, outputs)
        self.policy, self.deterministic = policy, deterministic
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
            ended = th.from_numpy(dones).to(self._z.device)
            memory = (self._memory[0][ended], self._memory[1][ended])
            features = self.policy.features(self._latents(last), memory).cpu().numpy()
            for i, row in zip(np.flatnonzero(dones), features, strict=True):
                infos[i]["terminal_observation"] = row
            for part in self._memory:
                part[ended] = 0
        self._z = self._latents(observations)
        return self._features(), rewards, dones, infos

    def _latents(self, observations: Any) -> th.Tensor:
        frames = channels_last(observations, self.policy.observation_space)
        with th.no_grad():
            return self.policy.latents(frames, self.deterministic)

    def _features(self) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self.policy.features(self._z, self._memory).cpu().numpy()
        return features


class PixelPolicy(FramePolicy):
    """Vision, memory and what another algorithm has learnt from them, as one policy of frames.

    :param world_model: vision, memory and action map
    :param actor: an SB3 policy of a :class:`WorldModelVecEnv`'s observations
    :raises ValueError: if the actor's spaces are others
    """

    def __init__(self, world_model: WorldModelPolicy, actor: BasePolicy) -> None:
        super().__init__(world_model.observation_space, world_model.action_space, world_model.action_repeat)
        expected = (world_model.n_features,), (world_model.action_map.n_outputs,)
        shapes = actor.observation_space.shape, actor.action_space.shape
        if shapes != expected:
            raise ValueError(f"actor: observations and actions of shapes {shapes}; accepted are {expected}")
        self.world_model, self.actor = world_model, actor

    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """Latents are the posteriors' means; actions are drawn unless deterministic."""
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


def export_pixel_policy(model: BaseAlgorithm, world_model: WorldModelPolicy) -> PixelPolicy:
    """A model that was trained on a :class:`WorldModelVecEnv`, for the environment with frames itself.

    :param model: SAC, PPO, ...
    :param world_model: of that environment
    """
    return PixelPolicy(world_model, model.policy)
