"""A policy that plans at every step, warm-started with the remainder of its last plan."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.common.queries import FiniteObservations
from ardae_rl.planning.ilqr import ILQR
from ardae_rl.planning.problem import Planner, Problem, shift
from ardae_rl.planning.sampling import CEM, MPPI

Array = NDArray[Any]
# Plans in [-1, 1], (n, horizon, action_dim), and the memory of the policy, with n rows each
State = tuple[Array, ...]
PLANNERS: dict[str, Callable[..., Planner]] = {"ilqr": ILQR, "cem": CEM, "mppi": MPPI}


class LatentPlanningPolicy(FiniteObservations):
    """Infers the latent state from observations, plans in a model, and takes the first action of the plan.

    The state that ``predict`` takes and returns consists of the plan and the policy's memory. Without a state, or where
    an episode starts, planning starts from scratch. The planner uses the same random numbers at every step and for
    every row of a batch: a plan depends only on the latent state, the previous plan and the seed.

    :param observation_space: Observation space of the environment.
    :param action_space: A bounded ``Box`` with one axis; plans have actions in [-1, 1].
    :param seed: Seed of the planner's random numbers.
    :raises ValueError: For any other action space.
    """

    planner: Planner
    optimizer: th.optim.Optimizer

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0) -> None:
        super().__init__(observation_space, action_space)
        if not (isinstance(action_space, spaces.Box) and action_space.is_bounded() and len(action_space.shape) == 1):
            raise ValueError(f"`action_space` must be a bounded Box with one axis, got {action_space}")
        self.seed = seed

    @abstractmethod
    def infer_state(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, episode_starts: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """Return the initial states of the planning problems, (n, state_dim), and the new memory, n rows each.

        :param observation: Observations as SB3 passes them to policies.
        :param memory: The memory returned at the last step, empty at first.
        :param last_actions: The previous actions, (n, action_dim) in [-1, 1]; None at first.
        :param episode_starts: Mask (n,) of episode starts, where ``memory`` and ``last_actions`` must be ignored.
        """

    @abstractmethod
    def problem(self) -> Problem:
        """Return the problem to solve, with actions in [-1, 1]."""

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Array, State]:
        """Return actions and the new state, as SB3's recurrent policies do.

        :param observation: Observations as the environment returns them, of one environment or of several.
        :param state: The state returned at the previous step; None at first.
        :param episode_start: Mask (n,) of environments whose episode starts here; their rows of ``state`` are ignored.
        :param deterministic: Has no effect: plans are functions of observation, state and seed.
        """
        self.set_training_mode(False)
        tensors, vectorized = self.obs_to_tensor(observation)
        actions, state = self._plan(tensors, state, episode_start)
        actions = self.unscaled(actions)
        return (actions if vectorized else actions[0]), state

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return th.as_tensor(self._plan(observation, None, None)[0])

    @th.no_grad()
    def _plan(self, observation: PyTorchObs, state: State | None, episode_start: Any) -> tuple[Array, State]:
        """Return the first actions of the plans, in [-1, 1], and the new state."""
        n = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        started = np.full(n, state is None) if episode_start is None else np.atleast_1d(episode_start).astype(bool)
        episode_starts = th.as_tensor(started, device=self.device)
        last = None if state is None else th.as_tensor(state[0], device=self.device)
        memory: State = () if state is None else state[1:]
        start, memory = self.infer_state(observation, memory, None if last is None else last[:, 0], episode_starts)
        warm = None if last is None else shift(last).to(start) * ~episode_starts[:, None, None]
        plan = self.planner.plan(self.problem(), start, warm, th.Generator().manual_seed(self.seed))
        plans = plan.actions.cpu().numpy()
        return plans[:, 0], (plans, *memory)

    def unscaled(self, actions: Array) -> Array:
        """Return actions in the environment's range, given actions in [-1, 1], (..., action_dim)."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        unscaled = space.low + 0.5 * (actions + 1) * (space.high - space.low)
        return np.clip(unscaled, space.low, space.high).astype(space.dtype)


def zero_schedule(_: float) -> float:
    """Return a learning rate of zero, the schedule of a policy that is loaded without its algorithm."""
    return 0.0
