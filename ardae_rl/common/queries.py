"""Observations and actions as environments and users pass them: checks, and conversion to batched tensors."""

import math
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.finite import check_all_finite


class FiniteObservations(BasePolicy):
    """Base of policies that refuse observations that are not finite, for which actions would be NaN."""

    def obs_to_tensor(self, observation: Any) -> tuple[PyTorchObs, bool]:
        """Return the observation as a tensor, and whether it is a batch, as in SB3.

        :raises ValueError: If the observation is not finite, or if only one of it and the space is a dictionary.
        """
        check_observation(observation, self.observation_space)
        return super().obs_to_tensor(observation)


def check_spaces(model: BaseAlgorithm) -> None:
    """Check what SB3's algorithms assume about the spaces of their environment.

    :raises ValueError: For observations without an axis, discrete observations or actions that do not start at 0, and
        Box actions that are integers or have low = high in a dimension.
    """
    for name, part in _parts("observation_space", model.observation_space).items():
        if isinstance(part, spaces.Box) and part.shape == ():
            raise ValueError(f"`{name}` must have at least one axis, got {part}")
        _check_start(name, part)
    space = model.action_space
    _check_start("action_space", space)
    if isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"`action_space` must have a floating-point dtype, got {space}")
    if isinstance(space, spaces.Box) and not (space.low < space.high).all():
        raise ValueError(f"`action_space` must have low < high in each dimension, got {space.low} and {space.high}")


def _parts(name: str, space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """Return a space, or the spaces in a dictionary, by the names that error messages use."""
    if not isinstance(space, spaces.Dict):
        return {name: space}
    return {f"{name}[{key!r}]": part for key, part in space.spaces.items()}


def _check_start(name: str, space: spaces.Space[Any]) -> None:
    if isinstance(space, spaces.Discrete) and space.start != 0:
        raise ValueError(f"`{name}` must start at 0, got {space}")


class CheckedPredictions(BaseAlgorithm):
    """Base of algorithms with SB3's own policies, to refuse observations that are not finite.

    List it before SB3's algorithm among the bases of a class.
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return actions and the next state, as in SB3.

        :raises ValueError: If the observation is not finite, or if only one of it and the space is a dictionary.
        """
        check_observation(observation, self.observation_space)
        return super().predict(observation, state, episode_start, deterministic)


def check_observation(observation: Any, space: spaces.Space[Any]) -> None:
    """Check what SB3 assumes about an observation.

    :raises ValueError: If it is not finite, lacks keys of a ``Dict`` space, is a dictionary for another space, an image
        without three axes, or a number that a discrete space does not have.
    :raises TypeError: For an image or a part of a dictionary that is not an array.
    """
    parts = {"observation": observation}
    if isinstance(space, spaces.Dict):
        keys = observation.keys() if isinstance(observation, dict) else set()
        if not keys >= space.spaces.keys():
            got = f"the keys {', '.join(map(repr, keys))}" if keys else f"{type(observation).__name__}"
            expected = ", ".join(map(repr, space.spaces))
            raise ValueError(f"`observation` must be a dictionary with the keys {expected}, got {got}")
        parts = {f"observation[{key!r}]": observation[key] for key in space.spaces}
    elif isinstance(observation, dict):
        raise ValueError(f"`observation` must be of the space {space}, got a dictionary")
    for name, part in parts.items():
        if isinstance(space, spaces.Dict) and not hasattr(part, "__array__"):
            raise TypeError(f"`{name}` must be an array, got a {type(part).__name__}")
    check_all_finite("observation", observation)
    for (name, part), subspace in zip(parts.items(), _parts("observation", space).values(), strict=True):
        _check_image(name, part, subspace)
        _check_range(name, part, subspace)


def _check_image(name: str, part: Any, space: spaces.Space[Any]) -> None:
    if is_image_space(space):
        if not isinstance(part, np.ndarray):
            raise TypeError(f"`{name}` must be a NumPy array, got a {type(part).__name__}")
        if part.ndim not in (3, 4):
            raise ValueError(f"`{name}` must have three axes, or four as a batch, got {part.shape}")


def _check_range(name: str, part: Any, space: spaces.Space[Any]) -> None:
    """Check values that become one-hot vectors."""
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        n = np.asarray(space.n if isinstance(space, spaces.Discrete) else space.nvec)
        values = np.asarray(part.cpu() if isinstance(part, th.Tensor) else part)
        fits = values.shape[values.ndim - n.ndim :] == n.shape  # SB3 refuses other shapes
        if fits and not ((values >= 0) & (values < n)).all():
            raise ValueError(f"`{name}` must be in {space}, got {part}")


def query_observations(policy: BasePolicy, obs: Any) -> tuple[PyTorchObs, bool]:
    """Return observations as a batch of tensors, and whether they had a batch dimension.

    :param policy: Policy whose observation space they belong to.
    :param obs: Arrays, tensors, or a dictionary of either, with or without a batch dimension.
    :raises ValueError: For other shapes, and values that are not finite.
    """
    first = next(iter(obs.values())) if isinstance(obs, dict) and obs else obs
    if not isinstance(first, th.Tensor):
        return policy.obs_to_tensor(obs)
    check_all_finite("obs", obs)
    if isinstance(obs, dict):
        space = policy.observation_space
        if not isinstance(space, spaces.Dict) or obs.keys() != space.spaces.keys():
            raise ValueError(f"`obs` must be of the space {space}, got a dictionary with the keys {sorted(obs)}")
        parts = {key: _batch(f"obs[{key!r}]", obs[key], space[key], policy.device) for key in obs}
        return {key: part for key, (part, _) in parts.items()}, all(batched for _, batched in parts.values())
    return _batch("obs", obs, policy.observation_space, policy.device)


def query_actions(actions: Any, space: spaces.Box, n: int, device: th.device) -> th.Tensor:
    """Return actions as a tensor of shape (n, action_dim).

    :param actions: Array or tensor of shape (n, action_dim) or (n, *shape of the space); the batch dimension can be
        missing if n is 1.
    :param space: Action space of the environment.
    :param n: Number of observations.
    :param device: Device of the tensor.
    :raises ValueError: For other shapes, and values that are not finite.
    :raises TypeError: If they are not an array.
    """
    dim = math.prod(space.shape)
    if not isinstance(actions, list | tuple) and not hasattr(actions, "__array__"):
        raise TypeError(f"`actions` must be an array of shape ({n}, {dim}), got a {type(actions).__name__}")
    check_all_finite("actions", actions)
    tensor = th.as_tensor(actions, dtype=th.float32, device=device)
    shapes = [(n, dim), (n, *space.shape), *([(dim,), space.shape] if n == 1 else [])]
    if tuple(tensor.shape) not in shapes:
        raise ValueError(f"`actions` must have shape ({n}, {dim}), got {tuple(tensor.shape)}")
    return tensor.reshape(n, dim)


def _batch(name: str, obs: th.Tensor, space: spaces.Space[Any], device: th.device) -> tuple[th.Tensor, bool]:
    shape = tuple(space.shape or ())
    batched = obs.dim() > len(shape)
    if tuple(obs.shape[1:] if batched else obs.shape) != shape and isinstance(space, spaces.Box):
        raise ValueError(f"`{name}` must have shape {('batch', *shape)}, got {tuple(obs.shape)}".replace("'", ""))
    _check_range(name, obs, space)
    return (obs if batched else obs.unsqueeze(0)).to(device), batched
