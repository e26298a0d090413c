"""Policies to collect data with: they act without knowing anything, but not like white noise.

All have the ``predict`` of SB3's recurrent policies, for a batch of environments at once: the state goes in and comes
out, and begins anew where ``episode_start`` says so. ``evaluate_policy``, and whatever else takes an SB3 model, takes
them too; and :class:`Mixture` takes SB3 models.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]
State = tuple[Array, ...] | None


class Predicts(Protocol):
    """What SB3's models and the policies here can do."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]: ...


class CollectionPolicy:
    """What the policies share: the action space, a generator, and a state for each environment.

    :param action_space: Box or Discrete
    :param seed: of the actions
    :raises ValueError: for another space
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int | None = None) -> None:
        if not isinstance(action_space, spaces.Box | spaces.Discrete):
            raise ValueError(f"action_space={action_space}: accepted are Box and Discrete")
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def predict(
        self,
        observation: Array,
        state: State = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, State]:
        """Actions for a batch of observations (n, ...), and the state after them; there is nothing deterministic."""
        n = len(observation)
        first = self._first(n)
        if state is None:
            state = first
        elif episode_start is not None:
            start = np.asarray(episode_start, dtype=bool)
            state = tuple(np.where(_like(start, new), new, old) for new, old in zip(first, state, strict=True))
        return self._act(observation, state)

    def _first(self, n: int) -> tuple[Array, ...]:
        """The state of n environments at the start of an episode, environments first."""
        raise NotImplementedError

    def _act(self, observation: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        raise NotImplementedError

    def _uniform(self, n: int) -> Array:
        """Actions over the whole space; an unbounded side counts as one unit from zero."""
        if isinstance(self.action_space, spaces.Discrete):
            return self.rng.integers(self.action_space.start, self.action_space.start + self.action_space.n, n)
        low, high = _bounds(self.action_space)
        return self.rng.uniform(low, high, (n, *low.shape)).astype(self.action_space.dtype)


class StickyRandom(CollectionPolicy):
    """Keeps its action with some probability, else draws another one.

    :param action_space: Box or Discrete
    :param stickiness: probability to keep it
    :param one_axis: whether a new action moves one axis alone, and leaves the others at zero (or nearest to it)
    :param seed: of the actions
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
            raise ValueError(f"stickiness={stickiness!r}: accepted are 0 to 1, 1 excluded")
        self.stickiness, self.one_axis = stickiness, one_axis

    def _first(self, n: int) -> tuple[Array, ...]:
        return (self._new(n),)

    def _act(self, observation: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        (action,) = state
        keep = self.rng.random(len(action)) < self.stickiness
        following = np.where(_like(keep, action), action, self._new(len(action)))
        return action, (following,)

    def _new(self, n: int) -> Array:
        actions = self._uniform(n)
        if not (self.one_axis and isinstance(self.action_space, spaces.Box)):
            return actions
        flat = actions.reshape(n, -1)
        low, high = (bound.reshape(-1) for bound in _bounds(self.action_space))
        moved = np.arange(flat.shape[1]) == self.rng.integers(flat.shape[1], size=(n, 1))
        return np.where(moved, flat, np.clip(0, low, high)).reshape(actions.shape).astype(actions.dtype)


class Hold(CollectionPolicy):
    """Holds each uniformly drawn action for a while.

    :param action_space: Box or Discrete
    :param least: steps
    :param most: steps; each number from ``least`` on is as likely
    :param seed: of the actions
    """

    def __init__(
        self, action_space: spaces.Space[Any], least: int = 1, most: int = 10, seed: int | None = None
    ) -> None:
        super().__init__(action_space, seed)
        if not 1 <= least <= most:
            raise ValueError(f"least={least!r}, most={most!r}: accepted are 1 <= least <= most")
        self.least, self.most = least, most

    def _first(self, n: int) -> tuple[Array, ...]:
        return self._uniform(n), self.rng.integers(self.least, self.most + 1, n)

    def _act(self, observation: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        action, left = state
        new_action, new_left = self._first(len(action))
        over = left <= 1
        return action, (np.where(_like(over, action), new_action, action), np.where(over, new_left, left - 1))


class Brownian(CollectionPolicy):
    """A random walk through a bounded space, from a uniform start, clipped at its bounds.

    :param action_space: Box
    :param step: standard deviation of a step, in halves of each axis's range
    :param seed: of the actions
    :raises ValueError: for another space
    """

    def __init__(self, action_space: spaces.Space[Any], step: float = 0.02**0.5, seed: int | None = None) -> None:
        super().__init__(action_space, seed)
        if not isinstance(action_space, spaces.Box):
            raise ValueError(f"action_space={action_space}: accepted is Box")
        if not step > 0:
            raise ValueError(f"step={step!r}: accepted are numbers above 0")
        self.step = step

    def _first(self, n: int) -> tuple[Array, ...]:
        return (self._uniform(n),)

    def _act(self, observation: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        assert isinstance(self.action_space, spaces.Box)
        (action,) = state
        low, high = _bounds(self.action_space)
        walked = action + self.step * (high - low) / 2 * self.rng.standard_normal(action.shape)
        return action, (np.clip(walked, low, high).astype(action.dtype),)


class RandomWeights(CollectionPolicy):
    """A linear policy of the observation with tanh, whose weights are drawn anew for each episode.

    :param action_space: Box or Discrete (the greatest output is the action)
    :param distribution: of the weights: "normal" or "cauchy", whose few large weights make for decided policies
    :param scales: the weights' scale is uniform in this range, for each episode
    :param n_inputs: an observation is averaged to about as many numbers
    :param seed: of the weights
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
        if distribution not in ("normal", "cauchy"):
            raise ValueError(f"distribution={distribution!r}: accepted are 'normal', 'cauchy'")
        if not 0 <= scales[0] <= scales[1]:
            raise ValueError(f"scales={scales!r}: accepted are two numbers from 0 up in ascending order")
        self.distribution, self.scales, self.n_inputs = distribution, scales, n_inputs
        discrete = isinstance(action_space, spaces.Discrete)
        self.n_outputs = int(action_space.n) if discrete else int(np.prod(action_space.shape))  # type: ignore[attr-defined, arg-type]

    def _first(self, n: int) -> tuple[Array, ...]:
        shape = (n, self.n_outputs, self.n_inputs + 1)
        draw = self.rng.standard_normal if self.distribution == "normal" else self.rng.standard_cauchy
        return (draw(shape) * self.rng.uniform(*self.scales, (n, 1, 1)),)

    def _act(self, observation: Array, state: tuple[Array, ...]) -> tuple[Array, tuple[Array, ...]]:
        (weights,) = state
        inputs = self._inputs(observation)
        outputs = np.tanh(np.einsum("noi,ni->no", weights, inputs))
        if isinstance(self.action_space, spaces.Discrete):
            return outputs.argmax(1) + int(self.action_space.start), state
        assert isinstance(self.action_space, spaces.Box)
        low, high = _bounds(self.action_space)
        middle, half = (high + low) / 2, (high - low) / 2
        return (middle + half * outputs.reshape(-1, *low.shape)).astype(self.action_space.dtype), state

    def _inputs(self, observation: Array) -> Array:
        """Means over equal parts of the observation (bytes between -1 and 1), and a one; (n, n_inputs + 1)."""
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
    """Of policies: at the start of an episode one is chosen for the whole of it.

    :param policies: those of this module, or SB3's models
    :param weights: probabilities up to a factor; equal by default
    :param seed: of the choices
    :raises ValueError: for weights that do not fit
    """

    def __init__(
        self, policies: Sequence[Predicts], weights: Sequence[float] | None = None, seed: int | None = None
    ) -> None:
        weights = [1.0] * len(policies) if weights is None else weights
        if not policies or len(weights) != len(policies) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"weights={weights!r}: accepted are {len(policies)} numbers from 0 up, not all 0")
        self.policies, self.probabilities = policies, np.array(weights) / np.sum(weights)
        self.rng = np.random.default_rng(seed)

    def predict(
        self, observation: Array, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Array, Any]:
        """Actions (n, ...), and the state: each environment's policy, and every policy's own state."""
        n = len(observation)
        choices = self.rng.choice(len(self.policies), n, p=self.probabilities)
        if state is None:
            states: list[Any] = [None] * len(self.policies)
        else:
            chosen, states = state
            start = np.zeros(n, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)
            choices = np.where(start, choices, chosen)
        # Each is asked for all environments, which keeps the states of recurrent policies in step
        answers = [
            policy.predict(observation, own, episode_start, deterministic)
            for policy, own in zip(self.policies, states, strict=True)
        ]
        actions = np.stack([action for action, _ in answers])[choices, np.arange(n)]
        return actions, (choices, [own for _, own in answers])


def _bounds(space: spaces.Box) -> tuple[Array, Array]:
    return np.where(np.isfinite(space.low), space.low, -1.0), np.where(np.isfinite(space.high), space.high, 1.0)


def _like(mask: NDArray[np.bool_], values: Array) -> NDArray[np.bool_]:
    """A mask of environments that broadcasts against what there is of each."""
    return mask.reshape(-1, *[1] * (values.ndim - 1))
