"""Untrained policies for data collection, which explore better than white noise.

Like SB3's recurrent policies, they have a ``predict`` for a batch of environments, which takes and returns a state; the
state is reset where ``episode_start`` is True. They can be passed to ``evaluate_policy`` and to other functions that
call an SB3 model's ``predict``. A :class:`Mixture` can also contain SB3 models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_envs.checks import check_choice, check_min

Array = NDArray[Any]
Observation = Array | Mapping[str, Array]
State = tuple[Array, ...] | None


class SupportsPredict(Protocol):
    """Anything with SB3's ``predict``: SB3 models, and the policies of this module.

    Example:

    >>> from gymnasium import spaces
    >>> from stable_baselines3 import SAC
    >>> from ardae_envs.collection import Hold, SupportsPredict
    >>> policies: list[SupportsPredict] = [Hold(spaces.Discrete(3)), SAC("MlpPolicy", "Pendulum-v1")]
    """

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]: ...


class CollectionPolicy:
    """Base class: an action space, a random generator, and a state per environment.

    A subclass defines ``_initial_state`` and ``_act``.

    Example:

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_envs.collection import CollectionPolicy
    >>> class Uniform(CollectionPolicy):
    ...     def _initial_state(self, n):
    ...         return ()
    ...     def _act(self, observation, state):
    ...         return self._uniform(len(observation)), state
    >>> actions, state = Uniform(spaces.Box(-1, 1, (2,)), seed=0).predict(np.zeros((5, 3)))
    >>> actions.shape
    (5, 2)

    :param action_space: Box or Discrete.
    :param seed: Seed of the actions.
    :raises ValueError: If the action space is neither Box nor Discrete.
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int | None = None) -> None:
        if not isinstance(action_space, spaces.Box | spaces.Discrete):
            raise ValueError(f"`action_space` must be Box or Discrete, got {action_space}")
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Observation,
        state: State = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, State]:
        """Return actions for a batch of observations, and the next state; ``deterministic`` has no effect.

        :param observation: Array (n, ...), or a dictionary of such arrays.
        """
        n = _batch_size(observation)
        initial_state = self._initial_state(n)
        if state is None:
            state = initial_state
        elif episode_start is not None:
            start = np.asarray(episode_start, dtype=bool)
            state = tuple(
                np.where(_expanded(start, new), new, old) for new, old in zip(initial_state, state, strict=True)
            )
        return self._act(observation, state)

    def _initial_state(self, n: int) -> tuple[Array, ...]:
        """Return the state of n environments at the start of an episode; each array has shape (n, ...)."""
        raise NotImplementedError

    def _act(self, observation: Observation, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        raise NotImplementedError

    def _uniform(self, n: int) -> Array:
        """Sample n actions uniformly; an infinite bound is replaced by -1 or 1."""
        if isinstance(self.action_space, spaces.Discrete):
            return self.rng.integers(self.action_space.start, self.action_space.start + self.action_space.n, n)
        low, high = _bounds(self.action_space)
        return self.rng.uniform(low, high, (n, *low.shape)).astype(self.action_space.dtype)


class StickyRandom(CollectionPolicy):
    """Repeat the last action with some probability, and sample a new one otherwise.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3.common.evaluation import evaluate_policy
    >>> from ardae_envs.collection import StickyRandom
    >>> env = gym.make("Pendulum-v1")
    >>> mean_return, _ = evaluate_policy(StickyRandom(env.action_space, seed=0), env, n_eval_episodes=1, warn=False)

    :param action_space: Box or Discrete.
    :param stickiness: Probability of repeating the last action, below 1.
    :param one_axis: Whether a new action is nonzero in one dimension only; the others are 0, or the bound nearest to 0.
    :param seed: Seed of the actions.
    :raises ValueError: If the action space is neither Box nor Discrete, or if ``stickiness`` is not in [0, 1).
    """

    def __init__(
        self,
        action_space: spaces.Space[Any],
        stickiness: float = 2 / 3,
        one_axis: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(action_space, seed)
        if not 0 <= stickiness < 1:
            raise ValueError(f"`stickiness` must be >= 0 and < 1, got {stickiness!r}")
        self.stickiness, self.one_axis = stickiness, one_axis

    def _initial_state(self, n: int) -> tuple[Array, ...]:
        return (self._new(n),)

    def _act(self, observation: Observation, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        (action,) = state
        keep = self.rng.random(len(action)) < self.stickiness
        next_action = np.where(_expanded(keep, action), action, self._new(len(action)))
        return action, (next_action,)

    def _new(self, n: int) -> Array:
        actions = self._uniform(n)
        if not (self.one_axis and isinstance(self.action_space, spaces.Box)):
            return actions
        flat = actions.reshape(n, -1)
        low, high = (bound.reshape(-1) for bound in _bounds(self.action_space))
        moved = np.arange(flat.shape[1]) == self.rng.integers(flat.shape[1], size=(n, 1))
        return np.where(moved, flat, np.clip(0, low, high)).reshape(actions.shape).astype(actions.dtype)


class Hold(CollectionPolicy):
    """Hold each uniformly sampled action for a number of steps that is uniform between a minimum and a maximum.

    Example:

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_envs.collection import Hold
    >>> policy, state = Hold(spaces.Discrete(3), min_steps=4, max_steps=4, seed=0), None
    >>> actions = []
    >>> for _ in range(4):
    ...     action, state = policy.predict(np.zeros((1, 2)), state)
    ...     actions.append(int(action[0]))
    >>> len(set(actions))
    1

    :param action_space: Box or Discrete.
    :param min_steps: Minimum number of steps for which an action is held.
    :param max_steps: Maximum number of steps for which an action is held.
    :param seed: Seed of the actions.
    :raises ValueError: If the action space is neither Box nor Discrete, or unless ``1 <= min_steps <= max_steps``.
    """

    def __init__(
        self, action_space: spaces.Space[Any], min_steps: int = 1, max_steps: int = 10, seed: int | None = None
    ) -> None:
        super().__init__(action_space, seed)
        check_min("min_steps", min_steps, 1)
        check_min("max_steps", max_steps, min_steps)
        self.min_steps, self.max_steps = min_steps, max_steps

    def _initial_state(self, n: int) -> tuple[Array, ...]:
        return self._uniform(n), self.rng.integers(self.min_steps, self.max_steps + 1, n)

    def _act(self, observation: Observation, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        action, remaining = state
        new_action, new_remaining = self._initial_state(len(action))
        done = remaining <= 1
        next_action = np.where(_expanded(done, action), new_action, action)
        return action, (next_action, np.where(done, new_remaining, remaining - 1))


class Brownian(CollectionPolicy):
    """A random walk in the action space from a uniformly sampled start, clipped at the bounds.

    Example:

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_envs.collection import Brownian
    >>> policy = Brownian(spaces.Box(-1, 1, (2,)), step=0.1, seed=0)
    >>> first, state = policy.predict(np.zeros((1, 3)))
    >>> second, state = policy.predict(np.zeros((1, 3)), state)
    >>> bool(abs(second - first).max() < 0.5)
    True

    :param action_space: Box.
    :param step: Standard deviation of a step, as a fraction of half the range of each dimension.
    :param seed: Seed of the actions.
    :raises ValueError: If the action space is not a Box, or if ``step`` is not positive.
    """

    def __init__(self, action_space: spaces.Space[Any], step: float = 0.02**0.5, seed: int | None = None) -> None:
        super().__init__(action_space, seed)
        if not isinstance(action_space, spaces.Box):
            raise ValueError(f"`action_space` must be Box, got {action_space}")
        if not step > 0:
            raise ValueError(f"`step` must be positive, got {step!r}")
        self.step = step

    def _initial_state(self, n: int) -> tuple[Array, ...]:
        return (self._uniform(n),)

    def _act(self, observation: Observation, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        assert isinstance(self.action_space, spaces.Box)
        (action,) = state
        low, high = _bounds(self.action_space)
        walked = action + self.step * (high - low) / 2 * self.rng.standard_normal(action.shape)
        return action, (np.clip(walked, low, high).astype(action.dtype),)


class RandomWeights(CollectionPolicy):
    """A linear function of the observation, followed by tanh, with new random weights in each episode.

    Example:

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_envs.collection import RandomWeights
    >>> policy = RandomWeights(spaces.Box(-1, 1, (3,)), "cauchy", seed=0)
    >>> actions, state = policy.predict(np.zeros((2, 96, 96, 3), np.uint8))
    >>> actions.shape
    (2, 3)

    :param action_space: Box or Discrete; for Discrete, the largest output selects the action.
    :param distribution: Distribution of the weights, "normal" or "cauchy". The few large weights of the Cauchy
        distribution lead to more decisive policies.
    :param scales: Range from which the scale of the weights is sampled uniformly, once per episode.
    :param n_inputs: Maximum number of inputs; a larger observation is divided into this many parts, which are averaged.
    :param seed: Seed of the weights.
    :raises ValueError: If the action space, the distribution or the scales are invalid. ``predict`` raises it for
        dictionary observations.
    """

    def __init__(
        self,
        action_space: spaces.Space[Any],
        distribution: str = "normal",
        scales: tuple[float, float] = (0.0, 1.0),
        n_inputs: int = 64,
        seed: int | None = None,
    ) -> None:
        super().__init__(action_space, seed)
        check_choice("distribution", distribution, ("normal", "cauchy"))
        if not 0 <= scales[0] <= scales[1]:
            raise ValueError(f"`scales` must be two ascending numbers >= 0, got {scales!r}")
        self.distribution, self.scales, self.n_inputs = distribution, scales, n_inputs
        discrete = isinstance(action_space, spaces.Discrete)
        self.n_outputs = int(action_space.n) if discrete else int(np.prod(action_space.shape))  # type: ignore[attr-defined, arg-type]

    def _initial_state(self, n: int) -> tuple[Array, ...]:
        shape = (n, self.n_outputs, self.n_inputs + 1)
        draw = self.rng.standard_normal if self.distribution == "normal" else self.rng.standard_cauchy
        return (draw(shape) * self.rng.uniform(*self.scales, (n, 1, 1)),)

    def _act(self, observation: Observation, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        (weights,) = state
        inputs = self._inputs(observation)
        outputs = np.tanh(np.einsum("noi,ni->no", weights, inputs))
        if isinstance(self.action_space, spaces.Discrete):
            return outputs.argmax(1) + int(self.action_space.start), state
        assert isinstance(self.action_space, spaces.Box)
        low, high = _bounds(self.action_space)
        middle, half = (high + low) / 2, (high - low) / 2
        return (middle + half * outputs.reshape(-1, *low.shape)).astype(self.action_space.dtype), state

    def _inputs(self, observation: Observation) -> Array:
        """Return the means of equal parts of the observation (bytes scaled to [-1, 1]) and a 1, (n, n_inputs + 1)."""
        if isinstance(observation, Mapping):
            raise ValueError(f"`observation` must be an array, got a dictionary with the keys {sorted(observation)}")
        flat = observation.reshape(len(observation), -1).astype(np.float64)
        if observation.dtype == np.uint8:
            flat = flat / 127.5 - 1
        parts = np.array_split(np.arange(flat.shape[1]), min(self.n_inputs, flat.shape[1]))
        inputs = np.zeros((len(flat), self.n_inputs + 1))
        for i, part in enumerate(parts):
            inputs[:, i] = flat[:, part].mean(1)
        inputs[:, -1] = 1
        return inputs


class Mixture:
    """A mixture of policies: each episode is played by one of them, chosen at its start.

    Example:

    >>> import numpy as np
    >>> from gymnasium import spaces
    >>> from ardae_envs.collection import Brownian, Hold, Mixture
    >>> space = spaces.Box(-1, 1, (2,))
    >>> policy = Mixture([Hold(space), Brownian(space)], weights=[3, 1], seed=0)
    >>> actions, state = policy.predict(np.zeros((4, 3)))
    >>> actions.shape
    (4, 2)

    :param policies: Policies of this module, or SB3 models.
    :param weights: Unnormalized probabilities of the policies; equal by default.
    :param seed: Seed of the choices.
    :raises ValueError: If the weights do not match the policies.
    """

    def __init__(
        self, policies: Sequence[SupportsPredict], weights: Sequence[float] | None = None, seed: int | None = None
    ) -> None:
        weights = [1.0] * len(policies) if weights is None else weights
        if not policies:
            raise ValueError(f"`policies` must not be empty, got {policies!r}")
        if len(weights) != len(policies) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"`weights` must be {len(policies)} numbers >= 0 that are not all 0, got {weights!r}")
        self.policies, self.probabilities = policies, np.array(weights) / np.sum(weights)
        self.rng = np.random.default_rng(seed)

    def predict(
        self, observation: Observation, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Return actions (n, ...), and the next state: each environment's policy, and the states of all policies."""
        n = _batch_size(observation)
        choices = self.rng.choice(len(self.policies), n, p=self.probabilities)
        if state is None:
            states: list[Any] = [None] * len(self.policies)
        else:
            chosen, states = state
            start = np.zeros(n, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)
            choices = np.where(start, choices, chosen)
        # Each policy acts in all environments, which keeps the states of recurrent policies up to date
        predictions = [
            policy.predict(observation, policy_state, episode_start, deterministic)
            for policy, policy_state in zip(self.policies, states, strict=True)
        ]
        actions = np.stack([action for action, _ in predictions])[choices, np.arange(n)]
        return actions, (choices, [policy_state for _, policy_state in predictions])


def _batch_size(observation: Observation) -> int:
    """Return n for observations (n, ...), or for a dictionary of them."""
    return len(next(iter(observation.values())) if isinstance(observation, Mapping) else observation)


def _bounds(space: spaces.Box) -> tuple[Array, Array]:
    return np.where(np.isfinite(space.low), space.low, -1.0), np.where(np.isfinite(space.high), space.high, 1.0)


def _expanded(mask: NDArray[np.bool_], values: Array) -> NDArray[np.bool_]:
    """Reshape a mask of environments so that it broadcasts against values of shape (n, ...)."""
    return mask.reshape(-1, *[1] * (values.ndim - 1))
