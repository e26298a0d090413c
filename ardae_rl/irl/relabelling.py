"""Learned rewards in the place of an environment's: in its steps, and in what replay buffers give back."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.her import HerReplayBuffer

Array = NDArray[Any]


class Transitions(NamedTuple):
    """Steps as rows of tensors."""

    observations: PyTorchObs
    actions: th.Tensor  # in the environment's range
    next_observations: PyTorchObs
    terminated: th.Tensor  # (n), 1 where the next observation is a terminal state


def select(transitions: Transitions, which: Any) -> Transitions:
    """Some of the rows."""
    return Transitions(*(_map(lambda part: part[which], part) for part in transitions))


def concatenated(parts: Sequence[Transitions]) -> Transitions:
    """Rows one after another."""
    columns = list(zip(*parts, strict=True))
    if isinstance(parts[0].observations, dict):
        names = parts[0].observations
        joined = [{name: th.cat([part[name] for part in columns[k]]) for name in names} for k in (0, 2)]
        return Transitions(joined[0], th.cat(columns[1]), joined[1], th.cat(columns[3]))
    return Transitions(*(th.cat(column) for column in columns))


def _map(function: Callable[[th.Tensor], th.Tensor], part: Any) -> Any:
    return {name: function(value) for name, value in part.items()} if isinstance(part, dict) else function(part)


class Step(NamedTuple):
    """A step of environments side by side, as arrays."""

    observations: Any
    actions: Array
    next_observations: Any  # of this episode, not the next one's
    terminated: Array
    truncated: Array


class RewardVecEnvWrapper(VecEnvWrapper):
    """Gives a reward of ours; the environment's is in ``info["original_reward"]``.

    :param venv: to be wrapped
    :param reward: (n) of a :class:`Step`
    """

    def __init__(self, venv: VecEnv, reward: Callable[[Step], Array]) -> None:
        super().__init__(venv)
        self._reward = reward
        self._observations: Any = None

    def reset(self) -> Any:
        self._observations = self.venv.reset()
        return self._observations

    def step_async(self, actions: Array) -> None:
        self._actions = np.array(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> Any:
        observations, original, dones, infos = self.venv.step_wait()
        truncated = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos]) & dones
        following = with_terminal_observations(observations, dones, infos)
        step = Step(self._observations, self._actions, following, dones & ~truncated, truncated)
        for info, reward in zip(infos, original, strict=True):
            info["original_reward"] = float(reward)
        self._observations = observations
        return observations, self._reward(step), dones, infos


def with_terminal_observations(observations: Any, dones: Array, infos: Any) -> Any:
    """What followed each step: a VecEnv gives the next episode's first observation where one has ended."""
    if not dones.any():
        return observations
    if isinstance(observations, dict):
        following = {name: np.array(value) for name, value in observations.items()}
        for k in np.flatnonzero(dones):
            for name in following:
                following[name][k] = infos[k]["terminal_observation"][name]
        return following
    array = np.array(observations)
    for k in np.flatnonzero(dones):
        array[k] = infos[k]["terminal_observation"]
    return array


class Relabelling:
    """Has the rewards of a replay buffer's samples computed when they are drawn; mixed into buffers."""

    reward: Callable[[Transitions], th.Tensor] | None = None  # (n); to be set before anything is drawn
    action_space: spaces.Space[Any]

    def sample(self, batch_size: int, env: Any = None) -> Any:
        batch = super().sample(batch_size, env)  # type: ignore[misc]
        assert self.reward is not None
        actions = unscaled(batch.actions, self.action_space)
        drawn = Transitions(batch.observations, actions, batch.next_observations, batch.dones.flatten())
        return batch._replace(rewards=self.reward(drawn).reshape(-1, 1))

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()  # type: ignore[misc,unused-ignore]
        return {name: value for name, value in state.items() if name != "reward"}


class RelabellingReplayBuffer(Relabelling, ReplayBuffer):
    """:class:`Relabelling` for plain observations."""


class RelabellingDictReplayBuffer(Relabelling, DictReplayBuffer):
    """:class:`Relabelling` for dictionaries."""


class RelabellingHerReplayBuffer(Relabelling, HerReplayBuffer):
    """:class:`Relabelling` for hindsight experience replay: a learned reward sees the goals that were put in."""


def relabelling_buffer(
    buffer_class: type[ReplayBuffer] | None, observation_space: spaces.Space[Any]
) -> type[Relabelling]:
    """What takes the place of a buffer class.

    :param buffer_class: None for SB3's usual one
    :raises ValueError: for a class of another kind
    """
    if buffer_class is None:
        buffer_class = DictReplayBuffer if isinstance(observation_space, spaces.Dict) else ReplayBuffer
    known: dict[type[ReplayBuffer], type[Relabelling]] = {
        ReplayBuffer: RelabellingReplayBuffer,
        DictReplayBuffer: RelabellingDictReplayBuffer,
        HerReplayBuffer: RelabellingHerReplayBuffer,
    }
    if issubclass(buffer_class, Relabelling):
        return buffer_class
    if buffer_class not in known:
        names = ", ".join(other.__name__ for other in known)
        raise ValueError(f"replay_buffer_class={buffer_class.__name__}: accepted with learned rewards are {names}")
    return known[buffer_class]


def unscaled(actions: th.Tensor, space: spaces.Space[Any]) -> th.Tensor:
    """Actions in the environment's range, of those that off-policy algorithms store, which are in [-1, 1]."""
    if not isinstance(space, spaces.Box):
        return actions
    low, high = (th.as_tensor(bound, dtype=th.float32, device=actions.device) for bound in (space.low, space.high))
    return low + 0.5 * (actions + 1) * (high - low)
