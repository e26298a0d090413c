"""Play the episodes of many candidates as one batch, in one process."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_rl.common.checks import check_count
from ardae_rl.world_models.evolution.evaluator import Array, Episodes, Evaluator

Env = gym.Env[Any, Any]
State = tuple[Array | th.Tensor, ...] | None
_NO_TASK = -1


class PopulationPolicy(Protocol):
    """A policy that acts in n environments at once, with a parameter vector for each; shared parts run as one batch.

    :class:`~ardae_rl.world_models.WorldModelPolicy` is one.

    Example:

    >>> import numpy as np
    >>> class Linear:
    ...     n_parameters = 4
    ...
    ...     def act(self, parameters, observations, state, episode_start):
    ...         return ((parameters * observations).sum(1) > 0).astype(int), state
    >>> actions, state = Linear().act(np.ones((2, 4)), np.ones((2, 4)), None, np.ones(2, bool))
    >>> actions
    array([1, 1])
    """

    @property
    def n_parameters(self) -> int:
        """Length of a parameter vector."""

    def act(
        self, parameters: Array, observations: Array, state: Any, episode_start: NDArray[np.bool_]
    ) -> tuple[Array | th.Tensor, State]:
        """Return actions for the environments, and the state after them.

        Each row belongs to an environment. Between calls, a row can begin another episode with other parameters, which
        ``episode_start`` indicates. Rows of environments without further episodes are removed from all arguments,
        including the state's parts.

        :param parameters: Parameters (n, n_parameters), float64; the same array until a row changes.
        :param observations: Observations (n, ...).
        :param state: State returned by the last call, for the remaining rows; None in the first call.
        :param episode_start: Mask (n,) of the rows in which an episode begins, where ``state`` must be ignored.
        :return: Actions (n, ...), and the state: a tuple of arrays or tensors with n rows each, or None.
        """


@runtime_checkable
class _SupportsLoading(Protocol):
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class RolloutEvaluator(Evaluator):
    """Steps several plain Gymnasium environments in turn, with one call of the policy for all.

    An environment whose episode has ended is reset at once with the next seed. When no episodes are left, the batch
    shrinks.

    Example:

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> from ardae_rl.world_models.evolution import RolloutEvaluator
    >>> class Linear:
    ...     n_parameters = 4
    ...
    ...     def act(self, parameters, observations, state, episode_start):
    ...         return ((parameters * observations).sum(1) > 0).astype(int), state
    >>> with RolloutEvaluator(lambda: gym.make("CartPole-v1"), Linear(), n_envs=4) as evaluator:
    ...     result = evaluator.evaluate([[0, 0, 0, 0], [0.1, 0.2, 1, 1]], seeds=[0, 1, 2])
    >>> result.returns.shape, bool(result.fitness[1] > result.fitness[0])
    ((2, 3), True)

    :param make_env: Function that makes an environment whose episodes depend only on their seed and actions.
    :param policy: Policy that acts in all environments.
    :param n_envs: Number of environments, the maximum size of a batch.
    :param patience: An episode is given up after this many consecutive steps without a positive reward; None for never.
    :raises ValueError: For a number below 1, or observations that are not arrays.
    """

    def __init__(
        self,
        make_env: Callable[[], Env],
        policy: PopulationPolicy,
        n_envs: int,
        patience: int | None = None,
    ) -> None:
        check_count("n_envs", n_envs)
        if patience is not None:
            check_count("patience", patience)
        self.policy, self.patience = policy, patience
        self._slots = [_Slot(make_env()) for _ in range(n_envs)]
        space = self._slots[0].env.observation_space
        if isinstance(space, spaces.Dict | spaces.Tuple):
            self.close()
            raise ValueError(f"`make_env` must have observations that are arrays or numbers, got {space}")

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        expected = (len(seeds), self.policy.n_parameters)
        if parameters.shape != expected:
            raise ValueError(f"`parameters` must have shape {expected}, got {parameters.shape}")
        patience = self.patience if give_up else None
        n = len(seeds)
        episodes = Episodes(np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_))
        tasks = iter(enumerate(seeds.tolist()))
        slots, state = self._slots[:n], None
        for slot, (task, seed) in zip(slots, tasks, strict=False):
            slot.begin(task, seed)
        rows = parameters[: len(slots)]
        while slots:
            actions, state = self._act(rows, slots, state)
            ended = [i for i, slot in enumerate(slots) if slot.step(actions[i], patience)]
            for i in ended:
                slots[i].record(episodes)
                slots[i].begin(*next(tasks, (_NO_TASK, None)))
            if ended:
                active = [i for i, slot in enumerate(slots) if slot.task != _NO_TASK]
                if len(active) < len(slots) and state is not None:
                    state = tuple(part[active] for part in state)
                slots = [slots[i] for i in active]
                rows = parameters[[slot.task for slot in slots]]
        return episodes

    def update(self, state: dict[str, Any]) -> None:
        if not isinstance(self.policy, _SupportsLoading):
            raise ValueError(f"`policy` must have a method load_state_dict, got {self.policy!r}")
        self.policy.load_state_dict(state)

    def close(self) -> None:
        for slot in self._slots:
            slot.env.close()

    def _act(self, rows: Array, slots: "list[_Slot]", state: State) -> tuple[Array, State]:
        observations = np.stack([slot.observation for slot in slots])
        episode_start = np.array([slot.length == 0 for slot in slots])
        with th.no_grad():
            answer, state = self.policy.act(rows, observations, state, episode_start)
        actions = answer.cpu().numpy() if isinstance(answer, th.Tensor) else np.asarray(answer)
        if len(actions) != len(slots):
            raise ValueError(f"`policy` must return {len(slots)} actions, one per environment, got {actions.shape}")
        finite = np.isfinite(actions).reshape(len(slots), -1).all(1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"`policy` must return finite actions, got {actions[row]} in step {slots[row].length} of the episode "
                f"with seed {slots[row].seed}"
            )
        return actions, state


class _Slot:
    """An environment and its current episode."""

    def __init__(self, env: Env) -> None:
        self.env = env

    def begin(self, task: int, seed: int | None) -> None:
        """Begin the episode of a task, unless it is ``_NO_TASK``."""
        self.task, self.seed = task, seed
        self.total, self.length, self.unrewarded, self.given_up = 0.0, 0, 0, False
        if task != _NO_TASK:
            self.observation, _ = self.env.reset(seed=seed)

    def step(self, action: Any, patience: int | None) -> bool:
        """Step the environment; return whether the episode ends."""
        self.observation, reward, terminated, truncated, _ = self.env.step(action)
        self.total += float(reward)
        self.length += 1
        self.unrewarded = 0 if float(reward) > 0 else self.unrewarded + 1
        ended = terminated or truncated
        self.given_up = not ended and patience is not None and self.unrewarded >= patience
        return ended or self.given_up

    def record(self, episodes: Episodes) -> None:
        """Write the results of the episode into the arrays of all episodes."""
        for values, value in zip(episodes, (self.total, self.length, self.given_up), strict=True):
            values[self.task] = value
