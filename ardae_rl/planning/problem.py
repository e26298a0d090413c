"""Optimal control problems, and the interface of planners."""

from typing import NamedTuple, Protocol

import torch as th


class Problem(Protocol):
    """A batch of n optimal control problems: find the actions that minimize the total cost in a model.

    All methods treat the rows of the batch independently.

    Example:

    >>> import torch as th
    >>> class Move:  # reach 0 on a line
    ...     low, high = th.tensor([-1.0]), th.tensor([1.0])
    ...     def step(self, states, actions):
    ...         return states + actions
    ...     def cost(self, states, actions):
    ...         return states.square().sum(-1)
    ...     def final_cost(self, states):
    ...         return states.square().sum(-1)
    >>> from ardae_rl.planning import Problem
    >>> problem: Problem = Move()
    >>> problem.step(th.tensor([[2.0]]), th.tensor([[-1.0]]))
    tensor([[1.]])
    """

    low: th.Tensor  # lower bounds of actions, (action_dim,)
    high: th.Tensor  # upper bounds of actions, (action_dim,)

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Return the next states, (n, state_dim), given states (n, state_dim) and actions (n, action_dim)."""

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Return the costs of a step, (n,)."""

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        """Return the costs of the final states of plans, (n,)."""


class Plan(NamedTuple):
    """Planned actions of n problems, and their total costs.

    Example:

    >>> import torch as th
    >>> from ardae_rl.planning import Plan
    >>> plan = Plan(actions=th.zeros(3, 10, 2), costs=th.zeros(3))
    >>> next_actions = plan.actions[:, 0]
    >>> next_actions.shape
    torch.Size([3, 2])
    """

    actions: th.Tensor  # (n, horizon, action_dim)
    costs: th.Tensor  # (n,)
    converged: th.Tensor | None = None  # (n,), whether the iterations have converged; None for sampling planners


class Planner(Protocol):
    """Finds plans of a fixed horizon.

    Example:

    >>> from ardae_rl.planning import CEM, ILQR, MPPI, Planner
    >>> planners: list[Planner] = [ILQR(horizon=10), CEM(horizon=10), MPPI(horizon=10)]
    >>> [planner.horizon for planner in planners]
    [10, 10, 10]
    """

    horizon: int

    def plan(
        self,
        problem: Problem,
        start: th.Tensor,
        warm: th.Tensor | None = None,
        generator: th.Generator | None = None,
    ) -> Plan:
        """Return the best plans that the planner finds.

        :param problem: The dynamics and costs to plan for.
        :param start: Initial states, (n, state_dim).
        :param warm: Actions to start from, (n, horizon, action_dim), such as the remainder of the last plan.
        :param generator: Source of random numbers.
        :raises ValueError: If action bounds are infinite or in the wrong order, ``warm`` has another shape or contains
            NaN, or the costs of all plans found for a row are NaN.
        """


def rollout(problem: Problem, start: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the states (n, T + 1, state_dim) that actions (n, T, action_dim) lead to, and the total costs, (n,).

    Example:

    >>> import torch as th
    >>> from ardae_rl.planning import rollout
    >>> class Move:  # a Problem: reach 0 on a line
    ...     low, high = th.tensor([-1.0]), th.tensor([1.0])
    ...     def step(self, states, actions):
    ...         return states + actions
    ...     def cost(self, states, actions):
    ...         return states.square().sum(-1)
    ...     def final_cost(self, states):
    ...         return states.square().sum(-1)
    >>> states, costs = rollout(Move(), th.tensor([[2.0]]), th.tensor([[[-1.0], [-1.0]]]))
    >>> states.flatten().tolist(), costs.tolist()
    ([2.0, 1.0, 0.0], [5.0])
    """
    states, cost = [start], start.new_zeros(len(start))
    for action in actions.unbind(1):
        cost = cost + problem.cost(states[-1], action)
        states.append(problem.step(states[-1], action))
    return th.stack(states, 1), cost + problem.final_cost(states[-1])


def shift(actions: th.Tensor) -> th.Tensor:
    """Return plans (n, T, action_dim) without their first action; the last one is repeated to keep the length."""
    return th.cat([actions[:, 1:], actions[:, -1:]], 1)


def action_bounds(problem: Problem, start: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the lowest and the highest action, (action_dim,) each, with the dtype and on the device of ``start``.

    :raises ValueError: If the bounds are infinite or in the wrong order.
    """
    low, high = problem.low.to(start), problem.high.to(start)
    if not bool(low.isfinite().all() & high.isfinite().all() & (low <= high).all()):
        raise ValueError(f"`problem` must have finite bounds with low <= high, got {problem.low}, {problem.high}")
    return low, high


def initial_plan(problem: Problem, start: th.Tensor, horizon: int, warm: th.Tensor | None) -> th.Tensor:
    """Return actions to start from, (n, horizon, action_dim): ``warm`` clipped to the bounds, or their midpoint.

    :raises ValueError: If ``warm`` has the wrong shape or contains NaN, or the bounds are infinite or in the wrong
        order.
    """
    low, high = action_bounds(problem, start)
    shape = (len(start), horizon, len(low))
    if warm is None:
        return (0.5 * (low + high)).expand(shape)
    if warm.shape != shape:
        raise ValueError(f"`warm` must have shape {shape}, got {tuple(warm.shape)}")
    if bool(warm.isnan().any()):
        raise ValueError("`warm` must not contain NaN")
    return warm.to(start).clamp(low, high)


def nan_as_infinite(costs: th.Tensor) -> th.Tensor:
    """Return the costs with NaN replaced by infinity, so that comparisons never prefer NaN."""
    return th.where(costs.isnan(), th.inf, costs)


def with_numbers(plan: Plan) -> Plan:
    """Return the plan after checking its costs.

    :raises ValueError: If the cost of the best plan found for some row is NaN.
    """
    rows = plan.costs.isnan().nonzero().flatten().tolist()
    if rows:
        raise ValueError(f"`problem` must have costs that are not NaN, got NaN for all plans of the rows {rows[:10]}")
    return plan
