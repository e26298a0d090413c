"""A policy that plans at every step, and begins with what is left of its last plan."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from ardae_rl.planning.problem import Planner, Problem, shifted

Array = NDArray[Any]
State = tuple[Array, ...]  # the plans, (n, horizon, action_dim)


class LatentPlanningPolicy(BasePolicy):
    """Encodes what it observes, plans in the model, and takes the plan's first action.

    The state that ``predict`` takes and gives back is the plan; without one, or where an episode starts, planning
    begins anew. Plans depend on nothing but observation, state and seed.

    :param observation_space: of the environment
    :param action_space: bounded real actions; plans have them in [-1, 1]
    :param seed: of the planner's random numbers
    :raises ValueError: for other actions
    """

    planner: Planner

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], seed: int = 0) -> None:
        super().__init__(observation_space, action_space)
        if not (isinstance(action_space, spaces.Box) and action_space.is_bounded() and len(action_space.shape) == 1):
            raise ValueError(f"action_space={action_space}: accepted are bounded real actions, a vector of them")
        self.seed = seed

    @abstractmethod
    def start(self, observation: PyTorchObs) -> th.Tensor:
        """The problem's states, (n, state_dim), of observations as SB3 gives them to policies."""

    @abstractmethod
    def problem(self) -> Problem:
        """What is planned; its actions are in [-1, 1]."""

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Array, State | None]:
        """As SB3's recurrent policies."""
        self.set_training_mode(False)
        tensors, vectorised = self.obs_to_tensor(observation)
        with th.no_grad():
            start = self.start(tensors)
            n, problem = len(start), self.problem()
            warm = None
            if state is not None:
                left = shifted(th.as_tensor(state[0], dtype=start.dtype, device=start.device))
                begun = np.zeros(n, bool) if episode_start is None else np.atleast_1d(episode_start).astype(bool)
                warm = left * th.as_tensor(~begun, device=left.device)[:, None, None]
            plan = self.planner.plan(problem, start, warm, th.Generator().manual_seed(self.seed))
        actions = self._unscaled(plan.actions[:, 0].cpu().numpy())
        return (actions if vectorised else actions[0]), (plan.actions.cpu().numpy(),)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        plan = self.planner.plan(
            self.problem(), self.start(observation), generator=th.Generator().manual_seed(self.seed)
        )
        return plan.actions[:, 0]

    def _unscaled(self, actions: Array) -> Array:
        space = self.action_space
        assert isinstance(space, spaces.Box)
        unscaled = space.low + 0.5 * (actions + 1) * (space.high - space.low)
        return np.clip(unscaled, space.low, space.high).astype(space.dtype)
