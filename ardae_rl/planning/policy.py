"""A policy that plans at every step, and begins with what is left of its last plan."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.planning.ilqr import ILQR
from ardae_rl.planning.problem import Planner, Problem, shifted
from ardae_rl.planning.sampling import CEM, MPPI

Array = NDArray[Any]
State = tuple[Array, ...]  # plans in [-1, 1], (n, horizon, action_dim), and what is remembered, with n rows each
PLANNERS: dict[str, Callable[..., Planner]] = {"ilqr": ILQR, "cem": CEM, "mppi": MPPI}


class LatentPlanningPolicy(BasePolicy):
    """Encodes what it observes, plans in the model, and takes the plan's first action.

    The state that ``predict`` takes and gives back is the plan, and what else is remembered; without one, or where an
    episode starts, planning begins anew. Plans depend on nothing but observation, state and seed.

    :param observation_space: of the environment
    :param action_space: bounded real actions; plans have them in [-1, 1]
    :param seed: of the planner's random numbers
    :raises ValueError: for other actions
    """

    planner: Planner
    optimizer: th.optim.Optimizer

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0) -> None:
        super().__init__(observation_space, action_space)
        if not (isinstance(action_space, spaces.Box) and action_space.is_bounded() and len(action_space.shape) == 1):
            raise ValueError(f"action_space={action_space}: accepted are bounded real actions, a vector of them")
        self.seed = seed

    @abstractmethod
    def locate(
        self, observation: PyTorchObs, memory: State, last_actions: th.Tensor | None, begun: th.Tensor
    ) -> tuple[th.Tensor, State]:
        """The problem's states, (n, state_dim), and what to remember, with n rows each.

        :param observation: as SB3 gives it to policies
        :param memory: what was remembered last, empty at first
        :param last_actions: that led here, (n, action_dim) in [-1, 1]; None at first
        :param begun: (n), where an episode starts: there neither may be used
        """

    @abstractmethod
    def problem(self) -> Problem:
        """What is planned; its actions are in [-1, 1]."""

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Array, State]:
        """As SB3's recurrent policies."""
        self.set_training_mode(False)
        tensors, vectorised = self.obs_to_tensor(observation)
        actions, state = self._plan(tensors, state, episode_start)
        actions = self.unscaled(actions)
        return (actions if vectorised else actions[0]), state

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        return th.as_tensor(self._plan(observation, None, None)[0])

    @th.no_grad()
    def _plan(self, observation: PyTorchObs, state: State | None, episode_start: Any) -> tuple[Array, State]:
        """First actions, in [-1, 1], and the state after them."""
        n = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        started = np.full(n, state is None) if episode_start is None else np.atleast_1d(episode_start).astype(bool)
        begun = th.as_tensor(started, device=self.device)
        last = None if state is None else th.as_tensor(state[0], device=self.device)
        memory: State = () if state is None else state[1:]
        start, memory = self.locate(observation, memory, None if last is None else last[:, 0], begun)
        warm = None if last is None else shifted(last).to(start) * ~begun[:, None, None]
        plan = self.planner.plan(self.problem(), start, warm, th.Generator().manual_seed(self.seed))
        plans = plan.actions.cpu().numpy()
        return plans[:, 0], (plans, *memory)

    def unscaled(self, actions: Array) -> Array:
        """Actions in [-1, 1], (..., action_dim), in the environment's range."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        unscaled = space.low + 0.5 * (actions + 1) * (space.high - space.low)
        return np.clip(unscaled, space.low, space.high).astype(space.dtype)


def no_learning(_: float) -> float:
    """The schedule of a policy that was loaded by itself."""
    return 0.0
