"""Replay buffers that compute rewards with the current reward function whenever transitions are sampled."""

from collections.abc import Callable
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.her import HerReplayBuffer

from ardae_rl.common.copies import deep_copy
from ardae_rl.common.squashed import unscale_actions
from ardae_rl.irl.transitions import Transitions


class Relabelling:
    """Mixin for replay buffers that replaces the stored rewards by those of ``reward`` in each sampled batch."""

    reward: Callable[[Transitions], th.Tensor] | None = None  # returns (n,); must be set before sampling
    observation_space: Any
    action_space: spaces.Space[Any]

    def sample(self, batch_size: int, env: Any = None) -> Any:
        """Sample a batch and relabel it.

        :raises RuntimeError: If ``reward`` has not been set.
        """
        batch = super().sample(batch_size, env)  # type: ignore[misc]
        if self.reward is None:
            raise RuntimeError("`reward` must be set before a batch is sampled, got None")
        return batch._replace(rewards=self.reward(self._transitions(batch)).reshape(-1, 1))

    def sample_transitions(self, n: int) -> Transitions:
        """Return n stored transitions, drawn with replacement, with actions in the environment's range."""
        return self._transitions(super().sample(n))  # type: ignore[misc]

    def _transitions(self, batch: Any) -> Transitions:
        actions = batch.actions  # off-policy algorithms store actions of a box in [-1, 1]
        if isinstance(self.action_space, spaces.Box):
            actions = unscale_actions(actions, self.action_space)
        observations, next_observations = (
            _shaped(part, self.observation_space) for part in (batch.observations, batch.next_observations)
        )
        actions = _shaped(actions, self.action_space)
        return Transitions(observations, actions, next_observations, batch.dones.flatten())

    def __getstate__(self) -> dict[str, Any]:
        state: Any = super().__getstate__()  # type: ignore[misc,unused-ignore]
        return {name: value for name, value in state.items() if name != "reward"}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Relabelling":
        return deep_copy(self, memo)


def _shaped(rows: Any, space: spaces.Space[Any]) -> Any:
    """Return rows in the shapes of their space; SB3's buffers add an axis to discrete ones."""
    if isinstance(space, spaces.Dict):
        return {name: _shaped(rows[name], part) for name, part in space.items()}
    return rows.reshape(-1, *(space.shape or ()))


class RelabellingReplayBuffer(Relabelling, ReplayBuffer):
    """Relabelling buffer for array observations."""


class RelabellingDictReplayBuffer(Relabelling, DictReplayBuffer):
    """Relabelling buffer for dictionary observations."""


class RelabellingHerReplayBuffer(Relabelling, HerReplayBuffer):
    """Relabelling buffer for hindsight experience replay: the learned reward sees the substituted goals."""


def relabelling_buffer(
    buffer_class: type[ReplayBuffer] | None, observation_space: spaces.Space[Any]
) -> type[Relabelling]:
    """Return the relabelling counterpart of a replay buffer class.

    :param buffer_class: Class of SB3, or None for SB3's default class for the observations.
    :param observation_space: Observation space of the environment.
    :raises ValueError: For a class without a relabelling counterpart.
    """
    if buffer_class is None:
        buffer_class = DictReplayBuffer if isinstance(observation_space, spaces.Dict) else ReplayBuffer
    counterparts: dict[type[ReplayBuffer], type[Relabelling]] = {
        ReplayBuffer: RelabellingReplayBuffer,
        DictReplayBuffer: RelabellingDictReplayBuffer,
        HerReplayBuffer: RelabellingHerReplayBuffer,
    }
    if issubclass(buffer_class, Relabelling):
        return buffer_class
    if buffer_class not in counterparts:
        names = ", ".join(other.__name__ for other in counterparts)
        raise ValueError(f"`replay_buffer_class` must be one of {names}, got {buffer_class.__name__}")
    return counterparts[buffer_class]


def empty_replay_buffer(model: OffPolicyAlgorithm) -> Any:
    """Return an empty replay buffer, constructed as SB3 does for a model with an environment."""
    assert model.replay_buffer_class is not None
    kwargs: dict[str, Any] = dict(model.replay_buffer_kwargs)
    if issubclass(model.replay_buffer_class, HerReplayBuffer):
        kwargs["env"] = model.env
    return model.replay_buffer_class(
        model.buffer_size,
        model.observation_space,
        model.action_space,
        device=model.device,
        n_envs=model.n_envs,
        optimize_memory_usage=model.optimize_memory_usage,
        **kwargs,
    )
