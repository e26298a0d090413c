"""Recurrent policies on frames, which can hold each action for several steps."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_envs.frames import crop_bar, resize
from ardae_rl.common.checks import check_count
from ardae_rl.world_models.vision import SIZE

Array = NDArray[Any]
State = tuple[Array, ...]  # arrays with n rows each


def channels_last(observations: Any, space: spaces.Space[Any]) -> NDArray[np.uint8]:
    """Return frames as (n, height, width, 3), even if SB3's ``VecTransposeImage`` has transposed them.

    :param space: Space of a frame, (height, width, 3).
    :raises ValueError: For observations of another dtype or shape.
    """
    frames, shape = np.asarray(observations), space.shape or ()
    if frames.shape[1:] == (shape[2], *shape[:2]) and frames.shape[1:] != shape:
        frames = frames.transpose(0, 2, 3, 1)
    if frames.shape[1:] != shape or frames.dtype != np.uint8:
        dims = ", ".join(map(str, shape))
        raise ValueError(f"`observation` must be uint8 of shape (n, {dims}), got {frames.dtype} of {frames.shape}")
    return frames


def to_vision_input(frames: NDArray[np.uint8], cropped_rows: int) -> NDArray[np.uint8]:
    """Crop and resize frames (n, height, width, 3) to the vision model's inputs, (n, 64, 64, 3).

    :param cropped_rows: Number of rows cut off the bottom.
    """
    return resize(crop_bar(frames, cropped_rows), SIZE)


class FramePolicy(BasePolicy):
    """Base of policies that act on frames (n, height, width, 3) with a recurrent state.

    :param observation_space: Frames of bytes, (height, width, 3).
    :param action_space: Action space of the environment.
    :param action_repeat: Number of steps for which ``predict`` holds an action; it ignores the frames in between. To
        decide at every call, as for an :class:`~ardae_envs.action_repeat.ActionRepeat` environment, call ``decide``.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], action_repeat: int = 1
    ) -> None:
        super().__init__(observation_space, action_space)
        check_count("action_repeat", action_repeat)
        self.action_repeat = action_repeat

    @abstractmethod
    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """Return actions (n, ...) for frames, and the state after them, with n rows each.

        :param state: State after the last decision; None for the start of all episodes.
        :param episode_start: Mask (n,) of the rows in which an episode starts, where ``state`` is ignored.
        """

    def predict(
        self, observation: Any, state: State | None = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, State | None]:
        """As in SB3's recurrent policies; SB3's ``VecTransposeImage`` may have transposed the frames.

        :return: Actions, and the state: that of ``decide`` and, if actions are held, the held actions and the numbers
            of steps for which they are still held, (n,).
        """
        self.set_training_mode(False)
        single = np.ndim(observation) == 3
        frames = channels_last(np.asarray(observation)[None] if single else observation, self.observation_space)
        start = np.zeros(len(frames), bool) if episode_start is None else np.atleast_1d(episode_start).astype(bool)
        advance = self.decide if self.action_repeat == 1 else self._hold
        actions, state = advance(frames, state, start, deterministic)
        return (actions[0] if single else actions), state

    def _hold(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        if state is None:
            actions, state = self.decide(frames, None, episode_start, deterministic)
            return actions, (*state, actions, np.full(len(frames), self.action_repeat - 1))
        *inner, actions, remaining = (part.copy() for part in state)
        due = episode_start | (remaining == 0)
        if due.any():
            before = tuple(part[due] for part in inner)
            actions[due], after = self.decide(frames[due], before, episode_start[due], deterministic)
            for part, rows in zip(inner, after, strict=True):
                part[due] = rows
        remaining = np.where(due, self.action_repeat, remaining) - 1
        return actions, (*inner, actions.copy(), remaining)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)  # as SB3 makes it for a Box
        return th.as_tensor(self.predict(observation.cpu().numpy(), deterministic=deterministic)[0])


class Decisions:
    """Exposes a policy's ``decide`` as ``predict``, for environments that repeat actions themselves.

    Latents are drawn with a separate generator, so that a collected episode depends only on its seed, not on earlier
    draws.

    :param policy: Policy that decides.
    :param seed: Seed of the generator.
    """

    def __init__(self, policy: FramePolicy, seed: int | None = None) -> None:
        self.policy = policy
        self.rng = np.random.default_rng(seed)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return actions for frames (n, height, width, 3), and the state after them."""
        start = np.zeros(len(observation), bool) if episode_start is None else episode_start.astype(bool)
        device = self.policy.device
        with th.random.fork_rng([device] if device.type == "cuda" else []):
            th.manual_seed(int(self.rng.integers(2**62)))
            return self.policy.decide(observation, state, start, deterministic)
