"""Episodes of many candidates, played in one process as one batch."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_rl.common.checks import check_positive
from ardae_rl.world_models.evolution.base import Array, Episodes, Evaluator

Env = gym.Env[Any, Any]
State = tuple[Array | th.Tensor, ...] | None
_NOTHING = -1  # in place of a task


class Pilot(Protocol):
    """A policy for n environments at once, with a parameter vector for each; what does not vary runs once for all."""

    @property
    def n_parameters(self) -> int:
        """Length of a parameter vector."""

    def act(
        self, parameters: Array, observations: Array, state: Any, episode_start: NDArray[np.bool_]
    ) -> tuple[Array | th.Tensor, State]:
        """Actions for the environments, and the state after them.

        Rows belong to environments. From call to call a row can begin another episode, with other parameters, which
        ``episode_start`` tells; and rows whose environment has nothing left to do are taken out everywhere, by
        ``part[rows]`` of the state's parts.

        :param parameters: (n, n_parameters), float64; the same array until a row changes
        :param observations: (n, ...)
        :param state: what was returned last, for the rows that are left; None at first
        :param episode_start: (n,), where an episode begins: there nothing of the state may be used
        :return: (n, ...) in the environments' action space, and arrays or tensors with n rows each, or None
        """


@runtime_checkable
class _Loads(Protocol):
    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


class RolloutEvaluator(Evaluator):
    """Steps plain Gymnasium environments side by side, with one call of the pilot for all.

    An environment whose episode has ended is reset with the next seed at once; when no episode is left to begin, the
    batch shrinks.

    :param make_env: makes an environment, whose episodes must depend on their seed and actions alone
    :param pilot: acts in all
    :param n_envs: environments, the most rows of a batch
    :param patience: an episode is given up after so many steps in a row without a reward above 0; None for never
    :param max_steps: an episode is ended after so many steps; None for never
    :raises ValueError: for numbers below 1 and observations that are no arrays
    """

    def __init__(
        self,
        make_env: Callable[[], Env],
        pilot: Pilot,
        n_envs: int,
        patience: int | None = None,
        max_steps: int | None = None,
    ) -> None:
        for name, value in (("n_envs", n_envs), ("patience", patience), ("max_steps", max_steps)):
            if value is not None:
                check_positive(name, value)
        self.pilot, self.patience, self.max_steps = pilot, patience, max_steps
        self._slots = [_Slot(make_env()) for _ in range(n_envs)]
        space = self._slots[0].env.observation_space
        if isinstance(space, spaces.Dict | spaces.Tuple):
            self.close()
            raise ValueError(f"make_env: its observations are {space}; accepted are arrays and numbers")

    def play(self, parameters: Array, seeds: Array, give_up: bool = True) -> Episodes:
        if parameters.shape != (len(seeds), self.pilot.n_parameters):
            accepted = (len(seeds), self.pilot.n_parameters)
            raise ValueError(f"parameters of shape {parameters.shape}: accepted is {accepted}, as the pilot's")
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
            ended = [i for i, slot in enumerate(slots) if slot.step(actions[i], patience, self.max_steps)]
            for i in ended:
                slots[i].note(episodes)
                slots[i].begin(*next(tasks, (_NOTHING, None)))
            if ended:
                left = [i for i, slot in enumerate(slots) if slot.task != _NOTHING]
                if len(left) < len(slots) and state is not None:
                    state = tuple(part[left] for part in state)
                slots = [slots[i] for i in left]
                rows = parameters[[slot.task for slot in slots]]
        return episodes

    def update(self, state: dict[str, Any]) -> None:
        if not isinstance(self.pilot, _Loads):
            raise ValueError(f"pilot={self.pilot!r}: accepted are pilots with load_state_dict")
        self.pilot.load_state_dict(state)

    def close(self) -> None:
        for slot in self._slots:
            slot.env.close()

    def _act(self, rows: Array, slots: "list[_Slot]", state: State) -> tuple[Array, State]:
        observations = np.stack([slot.observation for slot in slots])
        episode_start = np.array([slot.length == 0 for slot in slots])
        with th.no_grad():
            answer, state = self.pilot.act(rows, observations, state, episode_start)
        actions = answer.cpu().numpy() if isinstance(answer, th.Tensor) else np.asarray(answer)
        if len(actions) != len(slots):
            raise ValueError(f"actions of shape {actions.shape}: accepted are {len(slots)} rows, one per environment")
        finite = np.isfinite(actions).reshape(len(slots), -1).all(1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"actions={actions[row]}: the pilot's, in step {slots[row].length} of the episode with seed "
                f"{slots[row].seed}; accepted are finite numbers"
            )
        return actions, state


class _Slot:
    """An environment, and the episode that it is at."""

    def __init__(self, env: Env) -> None:
        self.env = env

    def begin(self, task: int, seed: int | None) -> None:
        """Start the episode of a task, unless there is none."""
        self.task, self.seed = task, seed
        self.total, self.length, self.unrewarded, self.given_up = 0.0, 0, 0, False
        if task != _NOTHING:
            self.observation, _ = self.env.reset(seed=seed)

    def step(self, action: Any, patience: int | None, max_steps: int | None) -> bool:
        """Whether the episode ends by it."""
        self.observation, reward, terminated, truncated, _ = self.env.step(action)
        self.total += float(reward)
        self.length += 1
        self.unrewarded = 0 if float(reward) > 0 else self.unrewarded + 1
        ended = terminated or truncated
        self.given_up = not ended and patience is not None and self.unrewarded >= patience
        return ended or self.given_up or self.length == max_steps

    def note(self, episodes: Episodes) -> None:
        """Write down what came of it."""
        for values, value in zip(episodes, (self.total, self.length, self.given_up), strict=True):
            values[self.task] = value
