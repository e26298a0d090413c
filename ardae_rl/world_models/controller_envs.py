"""Environments for training controllers of stacked frames."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
)
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from ardae_envs.patience import Patience
from ardae_rl.world_models.action_map import make_action_map
from ardae_rl.world_models.environments import MakeEnv
from ardae_rl.world_models.frame_policy import to_vision_input
from ardae_rl.world_models.stacked_control import stacks_space
from ardae_rl.world_models.vision import SIZE


class ControllerView(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with a controller's inputs and outputs: frames of 64 x 64 pixels, and actions in [-1, 1].

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.world_models.controller_envs import ControllerView
    >>> env = ControllerView(gym.make("CarRacing-v3"))
    >>> env.observation_space.shape, env.action_space.shape  # steering and one pedal
    ((64, 64, 3), (2,))

    :param env: Environment whose observations are frames of bytes, (height, width, 3).
    :param cropped_rows: Number of rows cut off the bottom of each frame.
    :param action_map: As in :class:`~ardae_rl.world_models.policies.WorldModelPolicy`.
    """

    def __init__(self, env: gym.Env[Any, Any], cropped_rows: int = 0, action_map: str = "auto") -> None:
        super().__init__(env)
        self.cropped_rows, self.action_map = cropped_rows, make_action_map(action_map, env.action_space)
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (self.action_map.n_outputs,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        frame, info = self.env.reset(seed=seed, options=options)
        return self._view(frame), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        frame, *rest = self.env.step(self.action_map.actions(np.asarray(action, np.float32)[None])[0])
        return self._view(frame), *rest  # type: ignore[return-value]

    def _view(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return to_vision_input(frame[None], self.cropped_rows)[0]


class FlatStacks(VecEnvWrapper):
    """Stacks of the environments' last frames, flattened to vectors.

    They are the inputs of :class:`~ardae_rl.world_models.stacked_control.StackedVision`. SB3 would transpose and scale
    images, which copies them twice in every update; it leaves vectors unchanged.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3.common.vec_env import DummyVecEnv
    >>> from ardae_rl.world_models.controller_envs import ControllerView, FlatStacks
    >>> venv = FlatStacks(DummyVecEnv([lambda: ControllerView(gym.make("CarRacing-v3"))]), n_frames=4)
    >>> venv.reset().shape  # 64 * 64 * 3 * 4
    (1, 49152)

    :param venv: Environments whose observations are those of :class:`ControllerView`.
    :param n_frames: Number of frames in a stack, the newest one last.
    """

    def __init__(self, venv: VecEnv, n_frames: int) -> None:
        stacked = VecFrameStack(venv, n_frames)
        super().__init__(stacked, stacks_space(n_frames))

    def reset(self) -> NDArray[np.uint8]:
        observations: NDArray[np.uint8] = self.venv.reset()  # type: ignore[assignment]
        return observations.reshape(self.num_envs, -1)

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = info["terminal_observation"].reshape(-1)
        return observations.reshape(self.num_envs, -1), rewards, dones, infos  # type: ignore[union-attr]


class Bonus(gym.Wrapper[Any, Any, Any, Any]):
    """Adds a reward to steps that ``info`` marks; for training only.

    :param env: Any environment.
    :param bonus: The added reward.
    :param key: Key of ``info`` whose value is true for these steps.
    """

    def __init__(self, env: gym.Env[Any, Any], bonus: float, key: str) -> None:
        super().__init__(env)
        self.bonus, self.key = bonus, key

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) + self.bonus * bool(info.get(self.key)), terminated, truncated, info


def make_training_venv(
    makers: Sequence[MakeEnv],
    n_envs: int,
    *,
    n_frames: int,
    cropped_rows: int = 0,
    action_map: str = "auto",
    patience: int | None = None,
    bonus: tuple[float, str] | None = None,
    gamma: float = 0.99,
    in_processes: bool = False,
) -> VecNormalize:
    """Return environments whose observations are :class:`FlatStacks`, and whose returns have about unit variance.

    They are not seeded: an SB3 algorithm passes its own seed on to them.

    :param makers: Functions that make environments in which one step is one decision of the policy, see
        :func:`~ardae_rl.world_models.environments.make_repeating`. Environment i uses maker i modulo their number.
    :param n_envs: Number of environments.
    :param n_frames: Number of frames in a stack.
    :param cropped_rows: As in :class:`ControllerView`.
    :param action_map: As in :class:`ControllerView`.
    :param patience: An episode terminates after this many decisions without a positive reward; None for never.
    :param bonus: Arguments of :class:`Bonus`; None for no bonus.
    :param gamma: Discount factor of the returns that set the scale of the rewards.
    :param in_processes: Whether each environment runs in its own process.
    """
    arguments = (cropped_rows, action_map, patience, bonus)
    makes = [partial(_training_env, makers[i % len(makers)], *arguments) for i in range(n_envs)]
    venv: VecEnv = _Processes(makes) if in_processes else DummyVecEnv(makes)  # type: ignore[arg-type]
    return VecNormalize(FlatStacks(venv, n_frames), norm_obs=False, gamma=gamma)


class _Processes(SubprocVecEnv):
    """A SubprocVecEnv that can be closed although processes have ended, as all do after Ctrl-C, even during a step."""

    def close(self) -> None:
        try:
            super().close()
        except (EOFError, OSError):
            for process in self.processes:
                process.kill()
                process.join()
            for remote in self.remotes:
                remote.close()
            self.closed = True


def _training_env(
    make_env: MakeEnv, cropped_rows: int, action_map: str, patience: int | None, bonus: tuple[float, str] | None
) -> gym.Env[Any, Any]:
    env = make_env()
    if patience is not None:
        env = Patience(env, patience, terminate=True)
    if bonus is not None:
        env = Bonus(env, *bonus)
    return ControllerView(Monitor(env), cropped_rows, action_map)
