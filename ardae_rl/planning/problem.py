"""What planners plan, and what they have in common."""

from typing import NamedTuple, Protocol

import torch as th


class Problem(Protocol):
    """n problems of optimal control side by side: actions that make a model's costs small.

    All functions take and give rows that do not depend on each other.
    """

    low: th.Tensor  # (action_dim), bounds of actions
    high: th.Tensor

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """The next states, (n, state_dim), of (n, state_dim) and (n, action_dim)."""

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Of a step, (n)."""

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        """Of where a plan ends, (n)."""


class Plan(NamedTuple):
    """What is to be done in n problems."""

    actions: th.Tensor  # (n, horizon, action_dim)
    costs: th.Tensor  # (n)


class Planner(Protocol):
    """Finds plans."""

    horizon: int

    def plan(
        self,
        problem: Problem,
        start: th.Tensor,
        warm: th.Tensor | None = None,
        generator: th.Generator | None = None,
    ) -> Plan:
        """The best actions that it finds.

        :param start: states, (n, state_dim)
        :param warm: actions to begin with, (n, horizon, action_dim), such as what is left of the last plan
        :param generator: of random numbers
        """


def rollout(problem: Problem, start: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """States (n, T + 1, state_dim) along actions (n, T, action_dim), and the sum of their costs, (n)."""
    states, cost = [start], start.new_zeros(len(start))
    for action in actions.unbind(1):
        cost = cost + problem.cost(states[-1], action)
        states.append(problem.step(states[-1], action))
    return th.stack(states, 1), cost + problem.final_cost(states[-1])


def shifted(actions: th.Tensor) -> th.Tensor:
    """What is left of plans (n, T, action_dim) after their first action, with the last one repeated."""
    return th.cat([actions[:, 1:], actions[:, -1:]], 1)


def first_guess(problem: Problem, n: int, horizon: int, warm: th.Tensor | None) -> th.Tensor:
    """Within the bounds: ``warm``, or the middle of them.

    :raises ValueError: if ``warm`` has another shape
    """
    shape = (n, horizon, len(problem.low))
    if warm is None:
        return (0.5 * (problem.low + problem.high)).expand(shape)
    if warm.shape != shape:
        raise ValueError(f"warm of shape {tuple(warm.shape)}: accepted is {shape}")
    return warm.clamp(problem.low, problem.high)
