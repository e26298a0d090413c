"""Reaching a point of a latent space, as a problem of optimal control."""

from collections.abc import Callable

import torch as th

Dynamics = Callable[[th.Tensor, th.Tensor], th.Tensor]


class GoalProblem:
    """Steps of a model with the cost Σ w_z (z - g)² + w_u |u|², and Σ w_z (z - g)² where a plan ends.

    A state is (z, g), so that each of many problems has its own goal; actions are in [-1, 1].

    :param dynamics: z' of z, (n, z_dim), and u, (n, action_dim)
    :param action_dim: of u
    :param goal_weight: w_z, for all dimensions or each, (z_dim)
    :param action_weight: w_u
    """

    def __init__(
        self,
        dynamics: Dynamics,
        action_dim: int,
        goal_weight: float | th.Tensor = 1.0,
        action_weight: float = 0.1,
        device: th.device | str = "cpu",
    ) -> None:
        self.dynamics, self.goal_weight, self.action_weight = dynamics, goal_weight, action_weight
        self.high = th.ones(action_dim, device=device)
        self.low = -self.high

    @staticmethod
    def state(z: th.Tensor, goal: th.Tensor) -> th.Tensor:
        """(n, 2 z_dim) of latents and goals, (n, z_dim) each."""
        return th.cat([z, goal], -1)

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        z, goal = states.chunk(2, -1)
        return th.cat([self.dynamics(z, actions), goal], -1)

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.final_cost(states) + self.action_weight * actions.square().sum(-1)

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        z, goal = states.chunk(2, -1)
        return (self.goal_weight * (z - goal).square()).sum(-1)


class CostProblem:
    """The same, but for any cost: such as minus a reward that was learnt.

    :param dynamics: z' of z and u
    :param cost: of z, (n, z_dim), and u, (n, action_dim): (n)
    :param action_dim: of u, in [-1, 1]
    """

    def __init__(self, dynamics: Dynamics, cost: Dynamics, action_dim: int, device: th.device | str = "cpu") -> None:
        self.dynamics, self._cost = dynamics, cost
        self.high = th.ones(action_dim, device=device)
        self.low = -self.high

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self.dynamics(states, actions)

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return self._cost(states, actions)

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        return th.zeros_like(states[..., 0])
