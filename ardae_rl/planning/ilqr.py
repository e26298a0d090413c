"""Iterative LQR, which improves plans by linearizing the model (Li and Todorov 2004; Tassa et al. 2012, 2014)."""

import warnings
from typing import NamedTuple

import torch as th
from torch.func import hessian, jacrev, vmap

from ardae_rl.common.checks import check_count, check_min
from ardae_rl.planning.lqr import Gains, finite_horizon_lqr
from ardae_rl.planning.problem import (
    Plan,
    Problem,
    action_bounds,
    initial_plan,
    nan_as_infinite,
    rollout,
    with_numbers,
)

_STEP_SIZES = 0.5 ** th.arange(8)  # tried in the line search
_FACTOR, _MIN, _MAX = 4.0, 1e-6, 1e6  # of the regularization: its change per iteration, and its bounds
_RAISE = 10.0  # factor by which the regularization grows within an iteration


class ILQR:
    """Iterative LQR.

    Each iteration linearizes the dynamics and expands the costs to second order around the current plan, solves this
    LQR problem within the action bounds, and takes the best of several step sizes. If the costs are not convex, the
    regularization is raised until the problem has a solution. It also grows when no step size reduces the cost, and
    shrinks when one does. Each row of the batch converges independently.

    Example:

    >>> import torch
    >>> from ardae_rl.planning import ILQR
    >>> from ardae_rl.planning.goal import GoalProblem
    >>> problem = GoalProblem(dynamics=lambda z, u: z + 0.1 * u, action_dim=2)
    >>> start = GoalProblem.state(torch.zeros(1, 2), torch.ones(1, 2))
    >>> ILQR(horizon=5).plan(problem, start).actions.shape
    torch.Size([1, 5, 2])

    :param horizon: Number of steps of a plan.
    :param n_iterations: Maximum number of iterations.
    :param n_restarts: Number of further plans that start from random actions, half of them with all actions at a bound;
        the best plan is kept.
    :param tolerance: Relative improvement below which the iterations stop.
    :raises ValueError: If an argument is out of its range.
    """

    def __init__(self, horizon: int, n_iterations: int = 10, n_restarts: int = 0, tolerance: float = 1e-6) -> None:
        check_count("horizon", horizon)
        check_count("n_iterations", n_iterations)
        check_count("n_restarts", n_restarts, minimum=0)
        check_min("tolerance", tolerance, 0)
        self.horizon, self.n_iterations, self.n_restarts, self.tolerance = horizon, n_iterations, n_restarts, tolerance

    @th.no_grad()
    def plan(
        self,
        problem: Problem,
        start: th.Tensor,
        warm: th.Tensor | None = None,
        generator: th.Generator | None = None,
    ) -> Plan:
        """Return the best plans found; the arguments are those of :class:`~ardae_rl.planning.problem.Planner`."""
        n = len(start)
        guesses = initial_plan(problem, start, self.horizon, warm).unsqueeze(0)
        if self.n_restarts:
            guesses = th.cat([guesses, self._random(problem, start, generator)])
        n_guesses = len(guesses)
        plan, changed = self._improve(problem, start.repeat(n_guesses, 1), guesses.flatten(0, 1))
        best = nan_as_infinite(plan.costs).view(n_guesses, n).argmin(0)
        rows = best * n + th.arange(n, device=start.device)
        assert plan.converged is not None
        if bool((~changed & ~plan.converged)[rows].any()):
            warnings.warn("iLQR returned initial plans: no iteration improved them", RuntimeWarning, stacklevel=2)
        return with_numbers(Plan(plan.actions[rows], plan.costs[rows], plan.converged[rows]))

    def _random(self, problem: Problem, start: th.Tensor, generator: th.Generator | None) -> th.Tensor:
        low, high = action_bounds(problem, start)
        # Shared by all rows, so that the plan of a row does not depend on its position in the batch
        shape = (self.n_restarts, 1, self.horizon, len(low))
        fractions = th.rand(shape, generator=generator, dtype=start.dtype).to(start.device)
        fractions[1::2] = fractions[1::2].round()
        return (low + fractions * (high - low)).expand(-1, len(start), -1, -1)

    def _improve(self, problem: Problem, start: th.Tensor, actions: th.Tensor) -> tuple[Plan, th.Tensor]:
        """Return improved plans, and which of them differ from ``actions``."""
        actions = actions.clone()
        states, costs = rollout(problem, start, actions)
        regularization = costs.new_full((len(start),), _MIN)
        converged = th.zeros(len(start), dtype=th.bool, device=costs.device)
        changed, active = converged.clone(), (~converged).nonzero().flatten()
        # After an iteration without improvement, a small step is due to the regularization, not to a minimum
        stalled = converged.clone()
        for _ in range(self.n_iterations):
            here, before = actions[active], costs[active]
            quadratic = _quadratic(problem, states[active], here)
            gains, regularization[active] = _solve(problem, quadratic, here, regularization[active])
            tried, path, tried_costs = _line_search(problem, states[active], here, gains)
            better = tried_costs < before
            improved = active[better]
            actions[improved], states[improved] = tried[better], path[better]
            costs[improved], changed[improved] = tried_costs[better], True
            threshold = self.tolerance * before.abs()
            arrived = (gains.decrease <= threshold) | (better & (before - tried_costs <= threshold))
            converged[active] = arrived & ~stalled[active] & ~gains.failed & before.isfinite()
            stalled[active] = ~better
            factor = th.where(better, 1 / _FACTOR, _FACTOR)
            regularization[active] = (regularization[active] * factor).clamp(_MIN, _MAX)
            active = active[~converged[active]]
            if not len(active):
                break
        return Plan(actions, costs, converged), changed


class _Quadratic(NamedTuple):
    """Arguments of :func:`finite_horizon_lqr` around n plans: first-order dynamics and second-order costs.

    Shapes are (n, T, ...), and (n, ...) for the final cost.
    """

    a: th.Tensor
    b: th.Tensor
    state_cost: th.Tensor
    action_cost: th.Tensor
    final_cost: th.Tensor
    cross_cost: th.Tensor
    state_slope: th.Tensor
    action_slope: th.Tensor
    final_slope: th.Tensor


def _quadratic(problem: Problem, states: th.Tensor, actions: th.Tensor) -> _Quadratic:
    """Return the quadratic problem around states (n, T + 1, d) and actions (n, T, m)."""
    n, length, _ = actions.shape
    x, u = states[:, :-1].flatten(0, 1), actions.flatten(0, 1)

    def step(x: th.Tensor, u: th.Tensor) -> th.Tensor:
        return problem.step(x.unsqueeze(0), u.unsqueeze(0)).squeeze(0)

    def cost(x: th.Tensor, u: th.Tensor) -> th.Tensor:
        return problem.cost(x.unsqueeze(0), u.unsqueeze(0)).squeeze(0)

    def final_cost(x: th.Tensor) -> th.Tensor:
        return problem.final_cost(x.unsqueeze(0)).squeeze(0)

    with th.enable_grad():
        a, b = vmap(jacrev(step, (0, 1)))(x, u)
        state_slope, action_slope = vmap(jacrev(cost, (0, 1)))(x, u)
        (state_cost, _), (cross_cost, action_cost) = vmap(hessian(cost, (0, 1)))(x, u)
        last = states[:, -1]
        final_slope, last_cost = vmap(jacrev(final_cost))(last), vmap(hessian(final_cost))(last)

    def by_step(values: th.Tensor) -> th.Tensor:
        return values.unflatten(0, (n, length)).detach()

    return _Quadratic(
        a=by_step(a),
        b=by_step(b),
        state_cost=by_step(state_cost),
        action_cost=by_step(action_cost),
        final_cost=last_cost.detach(),
        cross_cost=by_step(cross_cost),
        state_slope=by_step(state_slope),
        action_slope=by_step(action_slope),
        final_slope=final_slope.detach(),
    )


def _solve(
    problem: Problem, quadratic: _Quadratic, actions: th.Tensor, regularization: th.Tensor
) -> tuple[Gains, th.Tensor]:
    """Return the gains that solve the quadratic problem, and the regularization (n,) that each row needed."""
    regularization = regularization.clone()
    low, high = action_bounds(problem, actions)
    bounds = low - actions, high - actions
    gains = finite_horizon_lqr(**quadratic._asdict(), regularization=regularization, bounds=bounds)
    while True:
        failed = (gains.failed & (regularization < _MAX)).nonzero().flatten()
        if not len(failed):
            return gains, regularization
        regularization[failed] *= _RAISE
        part = _Quadratic(*(value[failed] for value in quadratic))
        failed_bounds = bounds[0][failed], bounds[1][failed]
        again = finite_horizon_lqr(**part._asdict(), regularization=regularization[failed], bounds=failed_bounds)
        for whole, new in zip(gains, again, strict=True):
            whole[failed] = new


def _line_search(
    problem: Problem, states: th.Tensor, actions: th.Tensor, gains: Gains
) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Return actions, states and costs of the best step size, evaluated with the true model."""
    n, k = len(actions), len(_STEP_SIZES)
    low, high = action_bounds(problem, actions)
    step_sizes = _STEP_SIZES.to(actions).repeat_interleave(n).unsqueeze(-1)  # (k n, 1)
    x = states[:, 0].repeat(k, 1)
    tried, path, costs = [], [x], x.new_zeros(k * n)
    for t in range(actions.shape[1]):
        difference = (x - states[:, t].repeat(k, 1)).unsqueeze(-1)
        feedback = (gains.feedback[:, t].repeat(k, 1, 1) @ difference).squeeze(-1)
        u = actions[:, t].repeat(k, 1) + step_sizes * gains.offset[:, t].repeat(k, 1) + feedback
        u = u.clamp(low, high)
        costs = costs + problem.cost(x, u)
        x = problem.step(x, u)
        tried.append(u)
        path.append(x)
    costs = nan_as_infinite(costs + problem.final_cost(x))
    best = costs.view(k, n).argmin(0) * n + th.arange(n, device=costs.device)
    return th.stack(tried, 1)[best], th.stack(path, 1)[best], costs[best]
