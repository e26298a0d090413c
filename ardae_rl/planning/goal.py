"""Optimal control problems in a latent space: reaching a goal, or minimizing a learned cost."""

from collections.abc import Callable

import torch as th

Dynamics = Callable[[th.Tensor, th.Tensor], th.Tensor]


class GoalProblem:
    """Reach a goal g: the cost of a step is Σ w_z (z - g)² + w_u |u|², and that of the final state Σ w_z (z - g)².

    The goal is concatenated to the state, (z, g), so that each of the n problems has its own goal. Actions are in
    [-1, 1].

    :param dynamics: Function that returns z', given z (n, z_dim) and u (n, action_dim).
    :param action_dim: Dimension of u.
    :param goal_weight: w_z, one weight, or one per dimension (z_dim,).
    :param action_weight: w_u.
    :param device: Device of the action bounds.
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
        """Return states (n, 2 z_dim) made of latents and goals, (n, z_dim) each."""
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
    """Minimize the sum of any cost per step, such as minus a learned reward; final states cost nothing.

    :param dynamics: Function that returns z', given z (n, z_dim) and u (n, action_dim).
    :param cost: Function that returns the costs (n,), given z and u.
    :param action_dim: Dimension of u, which is in [-1, 1].
    :param device: Device of the action bounds.
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
