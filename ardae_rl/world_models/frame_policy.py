"""Policies of frames with a state, which hold an action for some steps."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.checks import check_positive

Array = NDArray[Any]
State = tuple[Array, ...]  # n rows each


def channels_last(observations: Any, space: spaces.Space[Any]) -> NDArray[np.uint8]:
    """Frames (n, height, width, 3) of a space, also if they come as SB3's ``VecTransposeImage`` makes them.

    :raises ValueError: for others
    """
    frames, shape = np.asarray(observations), space.shape or ()
    if frames.shape[1:] == (shape[2], *shape[:2]) and frames.shape[1:] != shape:
        frames = frames.transpose(0, 2, 3, 1)
    if frames.shape[1:] != shape or frames.dtype != np.uint8:
        raise ValueError(f"observation of {frames.dtype}, shape {frames.shape}: accepted is uint8, (n, *{shape})")
    return frames


class FramePolicy(BasePolicy):
    """What decides by frames (n, height, width, 3), and what it remembers of those before.

    :param observation_space: frames of bytes, (height, width, 3)
    :param action_space: of the environment
    :param action_repeat: steps for which ``predict`` holds an action; the frames in between are not looked at. To
        decide at every call, as for an :class:`~ardae_envs.action_repeat.ActionRepeat` environment, call ``decide``
    """

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], action_repeat: int = 1
    ) -> None:
        super().__init__(observation_space, action_space)
        check_positive("action_repeat", action_repeat)
        self.action_repeat = action_repeat

    @abstractmethod
    def decide(
        self, frames: Array, state: State | None, episode_start: NDArray[np.bool_], deterministic: bool
    ) -> tuple[Array, State]:
        """Actions (n, ...) at frames, and the state after them, with n rows each.

        :param state: None for the start of all episodes
        :param episode_start: (n), where the state begins anew
        """

    def predict(
        self, observation: Any, state: State | None = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, State | None]:
        """As SB3's recurrent policies; frames may be channels first, as SB3's ``VecTransposeImage`` makes them.

        :return: actions, and the state: that of ``decide``, then, if actions are held, these and how often yet, (n)
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
        *inner, actions, left = (part.copy() for part in state)
        due = episode_start | (left == 0)
        if due.any():
            before = tuple(part[due] for part in inner)
            actions[due], after = self.decide(frames[due], before, episode_start[due], deterministic)
            for part, rows in zip(inner, after, strict=True):
                part[due] = rows
        left = np.where(due, self.action_repeat, left) - 1
        return actions, (*inner, actions.copy(), left)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        return th.as_tensor(self.predict(observation.cpu().numpy(), deterministic=deterministic)[0])


class Decisions:
    """A policy's decisions as its ``predict``: for environments that hold actions themselves."""

    def __init__(self, policy: FramePolicy) -> None:
        self.policy = policy

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Of frames (n, height, width, 3)."""
        start = np.zeros(len(observation), bool) if episode_start is None else episode_start.astype(bool)
        return self.policy.decide(observation, state, start, deterministic)
