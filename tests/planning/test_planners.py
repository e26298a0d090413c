"""LQR against linear algebra, iLQR against LQR, sampling planners against both."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch as th
from gymnasium import spaces

from ardae_rl.planning import CEM, ILQR, MPPI, Planner, finite_horizon_lqr, rollout
from ardae_rl.planning.goal import CostProblem, GoalProblem
from ardae_rl.planning.lqr import _bounded
from ardae_rl.planning.policy import LatentPlanningPolicy
from ardae_rl.planning.problem import shift
from tests.planning.problems import Linear, Pendulum

T = 6


def best_actions(problem: Linear, start: th.Tensor) -> th.Tensor:
    """Return the optimal actions (T, m) by one Newton step, because the costs are quadratic in them."""

    def total(flat: th.Tensor) -> th.Tensor:
        return rollout(problem, start[None], flat.view(1, T, -1))[1][0]

    zero = th.zeros(T * len(problem.low), dtype=th.float64)
    gradient = th.func.grad(total)(zero)
    return -th.linalg.solve(th.func.hessian(total)(zero), gradient).view(T, -1)


def gains_of(problem: Linear, n: int = 1, **arguments: Any) -> Any:
    def repeated(x: th.Tensor) -> th.Tensor:
        return x.expand(n, T, *x.shape)

    return finite_horizon_lqr(
        repeated(problem.a),
        repeated(problem.b),
        repeated(problem.q_matrix),
        repeated(problem.r_matrix),
        problem.p_matrix.expand(n, -1, -1),
        drift=repeated(problem.c),
        cross_cost=repeated(problem.s),
        state_slope=repeated(problem.q),
        action_slope=repeated(problem.r),
        final_slope=problem.p.expand(n, -1),
        **arguments,
    )


def starts(n: int, d: int = 3) -> th.Tensor:
    return th.randn(n, d, generator=th.Generator().manual_seed(1), dtype=th.float64)


def test_lqr_is_the_solution_of_all_steps_at_once() -> None:
    problem, x = Linear(), starts(4)
    gains = gains_of(problem, 4)
    assert not gains.failed.any()
    expected = th.stack([best_actions(problem, start) for start in x])
    for t in range(T):
        action = (gains.feedback[:, t] @ x.unsqueeze(-1)).squeeze(-1) + gains.offset[:, t]
        th.testing.assert_close(action, expected[:, t], atol=1e-9, rtol=1e-9)
        x = problem.step(x, action)


def test_lqr_of_a_long_horizon_is_riccatis() -> None:
    """Far from the end, the gain is that of the algebraic Riccati equation (by scipy)."""
    problem, length = Linear(seed=2), 200
    a, b, q, r = (x.expand(1, length, *x.shape) for x in (problem.a, problem.b, problem.q_matrix, problem.r_matrix))
    gains = finite_horizon_lqr(a, b, q, r, problem.p_matrix[None])
    a_, b_, q_, r_ = (x[0, 0].numpy() for x in (a, b, q, r))
    p = scipy.linalg.solve_discrete_are(a_, b_, q_, r_)
    expected = -np.linalg.solve(r_ + b_.T @ p @ b_, b_.T @ p @ a_)
    np.testing.assert_allclose(gains.feedback[0, 0], expected, atol=1e-9)


@pytest.mark.parametrize("regularization", [0.0, 2.0])
def test_predicted_decrease_of_the_cost(regularization: float) -> None:
    """From x = 0, where no action costs nothing, the gains lower the cost as predicted, also if regularized."""
    problem = Linear()
    problem.c.zero_()
    gains = gains_of(problem, regularization=th.full((1,), regularization, dtype=th.float64))
    x, cost = th.zeros(1, 3, dtype=th.float64), th.zeros(1, dtype=th.float64)
    for t in range(T):
        action = (gains.feedback[:, t] @ x.unsqueeze(-1)).squeeze(-1) + gains.offset[:, t]
        x, cost = problem.step(x, action), cost + problem.cost(x, action)
    cost = cost + problem.final_cost(x)
    assert cost < -0.1
    th.testing.assert_close(gains.decrease, -cost)


def test_lqr_without_a_least_value() -> None:
    """An unbounded problem is marked as failed, and others in the batch are solved."""
    problem, other = Linear(), Linear()
    other.r_matrix = -100 * th.eye(2, dtype=th.float64)
    one, bad = gains_of(problem), gains_of(other)
    assert bad.failed.all() and (bad.feedback == 0).all() and (bad.offset == 0).all()
    regularized = gains_of(other, regularization=th.tensor([1e4], dtype=th.float64))
    assert not regularized.failed.any()
    assert not one.failed.any()


def test_ilqr_of_a_linear_system_is_lqr_at_once() -> None:
    problem, x = Linear(), starts(5)
    plan = ILQR(T, n_iterations=1).plan(problem, x)
    expected = th.stack([best_actions(problem, start) for start in x])
    th.testing.assert_close(plan.actions, expected, atol=1e-4, rtol=1e-4)  # a regularization of 1e-6 remains
    th.testing.assert_close(plan.costs, rollout(problem, x, plan.actions)[1])


PLANNERS: list[Planner] = [
    ILQR(T, n_iterations=30),
    ILQR(T, n_iterations=30, n_restarts=4),
    CEM(T, n_samples=500, n_iterations=30, n_elites=50),
    MPPI(T, n_samples=500, n_iterations=60, deviation=0.2, temperature=0.05),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_bounded_actions(planner: Planner) -> None:
    """The plan is close to the optimum of a bounded convex problem, found by projected gradient descent."""
    problem, x = Linear(bound=0.4), starts(3)
    best = th.zeros(3, T, 2, dtype=th.float64, requires_grad=True)
    for _ in range(3000):
        (gradient,) = th.autograd.grad(rollout(problem, x, best)[1].sum(), best)
        best = (best - 0.01 * gradient).detach().clamp(-0.4, 0.4).requires_grad_()
    least = rollout(problem, x, best.detach())[1]
    nothing = rollout(problem, x, th.zeros(3, T, 2, dtype=th.float64))[1]
    assert bool((best.abs() == 0.4).any()), "bounds matter"
    plan = planner.plan(problem, x, generator=th.Generator().manual_seed(0))
    assert bool((plan.actions.abs() <= 0.4).all())
    th.testing.assert_close(plan.costs, rollout(problem, x, plan.actions)[1])
    assert bool((plan.costs - least < 0.05 * (nothing - least)).all())


@pytest.mark.parametrize(
    "planner",
    [
        ILQR(60, n_iterations=60, n_restarts=4),
        CEM(60, n_samples=400, n_iterations=20, n_elites=40),
    ],
    ids=["ilqr", "cem"],
)
def test_swing_up(planner: Planner) -> None:
    """It swings up with a torque that is too weak to do so directly; replanned at the top, it stays there."""
    problem, start = Pendulum(), th.tensor([[th.pi, 0.0], [2.8, 0.0]], dtype=th.float64)
    generator = th.Generator().manual_seed(1)
    plan = planner.plan(problem, start, generator=generator)
    states, _ = rollout(problem, start, plan.actions)
    assert bool((states[:, -1, 0].cos() > 0.9).all())
    again = planner.plan(problem, states[:, -1], shift(plan.actions), generator=generator)
    later, _ = rollout(problem, states[:, -1], again.actions)
    assert bool((later[:, -1, 0].cos() > 0.9).all())


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_a_good_beginning_is_kept(planner: Planner) -> None:
    problem, x = Linear(), starts(3)
    best = th.stack([best_actions(problem, start) for start in x])
    plan = planner.plan(problem, x, best, th.Generator().manual_seed(0))
    assert bool((plan.costs <= rollout(problem, x, best)[1] + 1e-9).all())


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_the_same_numbers_give_the_same_plan(planner: Planner) -> None:
    problem, x = Linear(bound=1.0), starts(2)
    plans = [planner.plan(problem, x, generator=th.Generator().manual_seed(3)).actions for _ in range(2)]
    th.testing.assert_close(plans[0], plans[1], rtol=0, atol=0)


def swings() -> th.Tensor:
    angles = th.linspace(-th.pi, th.pi, 24, dtype=th.float64)
    return th.stack([angles, th.linspace(-2, 2, 24, dtype=th.float64)], 1)


def test_mppi_leaves_infinite_costs_out() -> None:
    """Samples with infinite costs have no weight; if all are infinite, weights are equal."""
    planner, samples = MPPI(1, n_samples=8), th.linspace(0, 1, 8).view(1, 8, 1, 1)
    costs = 1000 + (samples - 0.5).square().view(1, 8)
    costs[0, 3] = th.inf
    rest = [k for k in range(8) if k != 3]
    moved, _ = planner._move(samples, costs, th.ones(1, 1, 1))
    expected, _ = planner._move(samples[:, rest], costs[:, rest], th.ones(1, 1, 1))
    th.testing.assert_close(moved, expected)
    moved, _ = planner._move(samples, th.full((1, 8), th.inf), th.ones(1, 1, 1))
    assert moved.item() == pytest.approx(0.5)


def test_mppi_weighs_samples_by_standardized_costs() -> None:
    planner, samples = MPPI(1, n_samples=3, temperature=0.2), th.tensor([-1.0, 0.0, 2.0]).view(1, 3, 1, 1)
    costs = th.tensor([[1.0, 2.0, 6.0]])
    weights = np.exp(-np.array([1.0, 2.0, 6.0]) / (0.2 * np.std([1.0, 2.0, 6.0], ddof=1)))
    moved, _ = planner._move(samples, costs, th.ones(1, 1, 1))
    assert moved.item() == pytest.approx((-weights[0] + 2 * weights[2]) / weights.sum(), rel=1e-5)
    moved, _ = planner._move(samples, th.full((1, 3), 7.0), th.ones(1, 1, 1))
    assert moved.item() == pytest.approx(1 / 3)  # equal costs have no standard deviation


class Walled:
    """Actions above -0.2 have an infinite cost; the best one is -0.5."""

    low, high = th.tensor([-1.0]), th.tensor([1.0])

    def step(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return states

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        assert not actions.isnan().any()
        return th.where(actions > -0.2, th.inf, (actions + 0.5).square())[:, 0]

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        return th.zeros(len(states))


@pytest.mark.parametrize("planner", [CEM(1, 64, 20, n_elites=8), MPPI(1, 64, 20)], ids=["cem", "mppi"])
def test_several_infinite_costs(planner: Planner) -> None:
    """They do not lead to NaN in later samples."""
    plan = planner.plan(Walled(), th.zeros(2, 1), generator=th.Generator().manual_seed(0))
    th.testing.assert_close(plan.actions, th.full((2, 1, 1), -0.5), atol=0.02, rtol=0)


def test_ilqr_improves_where_costs_are_not_convex() -> None:
    """Iterations are not wasted on raising the regularization, and all rows improve."""
    problem, start = Pendulum(), swings()
    nothing = rollout(problem, start, th.zeros(24, 30, 1, dtype=th.float64))[1]
    plan = ILQR(30).plan(problem, start)
    assert bool((plan.costs < nothing).all())
    th.testing.assert_close(plan.costs, rollout(problem, start, plan.actions)[1])
    assert plan.costs.mean() < 0.75 * nothing.mean()


def test_ilqr_improves_learned_costs() -> None:
    """Networks give costs that are not convex; every row must improve all the same."""
    th.manual_seed(0)
    dynamics = th.nn.Sequential(th.nn.Linear(4, 32), th.nn.Tanh(), th.nn.Linear(32, 3)).double()
    cost = th.nn.Sequential(th.nn.Linear(4, 32), th.nn.Tanh(), th.nn.Linear(32, 1)).double()
    problem = CostProblem(
        lambda z, u: z + 0.3 * dynamics(th.cat([z, u], -1)), lambda z, u: cost(th.cat([z, u], -1)).squeeze(-1), 1
    )
    problem.low, problem.high = problem.low.double(), problem.high.double()
    start = starts(32)
    nothing = rollout(problem, start, th.zeros(32, 8, 1, dtype=th.float64))[1]
    assert bool((ILQR(8).plan(problem, start).costs < nothing - 1e-3).all())


def test_rows_do_not_depend_on_each_other() -> None:
    problem, start = Pendulum(), swings()
    for n_iterations in (3, 20):
        together = ILQR(30, n_iterations).plan(problem, start)
        for k in (0, 12):
            alone = ILQR(30, n_iterations).plan(problem, start[k : k + 1])
            th.testing.assert_close(alone.costs[0], together.costs[k], rtol=1e-6, atol=0)
            assert together.converged is not None and alone.converged is not None
            assert alone.converged[0] == together.converged[k]


@pytest.mark.parametrize(
    "planner", [ILQR(30, n_iterations=1, n_restarts=4), *PLANNERS[2:]], ids=["ilqr restarted", "cem", "mppi"]
)
def test_the_place_in_the_batch_does_not_matter(planner: Planner) -> None:
    """Random numbers are common to all rows."""
    problem, x = Pendulum(), swings()
    once, twice = (
        planner.plan(problem, start, generator=th.Generator().manual_seed(3)).actions for start in (x, x.repeat(2, 1))
    )
    th.testing.assert_close(twice, once.repeat(2, 1, 1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_states_of_another_type_than_the_bounds(planner: Planner) -> None:
    problem = GoalProblem(lambda z, u: z + 0.1 * u, action_dim=2)
    start = GoalProblem.state(th.zeros(1, 2), th.ones(1, 2)).double()
    plan = planner.plan(problem, start, th.zeros(1, T, 2), th.Generator().manual_seed(0))
    assert plan.actions.dtype == plan.costs.dtype == th.float64


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_an_optimum_exactly_at_a_bound_keeps_its_feedback(side: float) -> None:
    """The bound does not push it, so that the action may follow the state back into the range."""
    one = th.ones(1, 1)
    feedback, offset = _bounded(one.unsqueeze(0), -side * one, 0.5 * one.unsqueeze(0), -one, one)
    assert offset.item() == side and feedback.item() == -0.5
    feedback, offset = _bounded(one.unsqueeze(0), -2 * side * one, 0.5 * one.unsqueeze(0), -one, one)
    assert offset.item() == side and feedback.item() == 0


def test_bounds_in_the_backward_pass() -> None:
    """At the minimum of a bounded convex problem, no feasible direction decreases the cost."""
    problem, x = Linear(bound=0.4), starts(3)
    plan = ILQR(T, n_iterations=20, tolerance=1e-10).plan(problem, x)
    assert plan.converged is not None and bool(plan.converged.all())
    actions = plan.actions.clone().requires_grad_()
    (slope,) = th.autograd.grad(rollout(problem, x, actions)[1].sum(), actions)
    upper, lower = plan.actions >= 0.4, plan.actions <= -0.4
    assert bool(upper.any()) and bool(lower.any())
    assert bool((slope[upper] < 1e-3).all()) and bool((slope[lower] > -1e-3).all())
    th.testing.assert_close(slope[~upper & ~lower], th.zeros_like(slope[~upper & ~lower]), rtol=0, atol=1e-3)


class Vertical(Linear):
    """A cost that rises steeply in every direction from a kink at zero, so that no step helps."""

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return actions.abs().sum(-1) - actions.square().sum(-1)

    def final_cost(self, states: th.Tensor) -> th.Tensor:
        return th.zeros_like(states[:, 0])


def test_plans_that_stay_as_they_were_warn() -> None:
    problem = Vertical(bound=0.1)
    warm = th.full((2, T, 2), 1e-9, dtype=th.float64)
    with pytest.warns(RuntimeWarning, match="iLQR returned initial plans"):
        plan = ILQR(T, n_iterations=1).plan(problem, starts(2), warm)
    assert plan.converged is not None and not plan.converged.any()


class NotNumbers(Linear):
    """Costs are NaN for the second row."""

    def cost(self, states: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return th.where(states[:, 0] > 5, th.nan, super().cost(states, actions))


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_costs_that_are_no_numbers_are_refused(planner: Planner) -> None:
    x = starts(2)
    x[1, 0] = 100.0
    with pytest.raises(ValueError, match=r"`problem` must have costs that are not NaN, got NaN .* rows \[1\]"):
        planner.plan(NotNumbers(), x)


@pytest.mark.parametrize("planner", PLANNERS, ids=["ilqr", "ilqr restarted", "cem", "mppi"])
def test_infinite_bounds_are_refused(planner: Planner) -> None:
    with pytest.raises(ValueError, match="`problem` must have finite bounds"):
        planner.plan(Linear(bound=float("inf")), starts(2))


def test_actions_in_the_range_of_the_environment() -> None:
    space = spaces.Box(np.array([-2, 10], np.float32), np.array([6, 11], np.float32))
    policy: Any = SimpleNamespace(action_space=space)
    actions = LatentPlanningPolicy.unscaled(policy, np.array([[-1.0, 1.0], [0.5, 0.0], [1.5, -1.5]]))
    np.testing.assert_allclose(actions, np.array([[-2, 11], [4, 10.5], [6, 10]]))
    assert actions.dtype == np.float32


def test_shift() -> None:
    plan = th.arange(6.0).view(1, 3, 2)
    assert shift(plan).tolist() == [[[2, 3], [4, 5], [4, 5]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ILQR(0), "`horizon` must be >= 1, got 0"),
        (lambda: ILQR(3, tolerance=float("nan")), "`tolerance` must be a number, got nan"),
        (lambda: ILQR(3, tolerance=-1), "`tolerance` must be >= 0, got -1"),
        (lambda: ILQR(3, n_restarts=-1), "`n_restarts` must be >= 0, got -1"),
        (lambda: CEM(3, n_elites=1), "`n_elites` must be between 2 and 256, got 1"),
        (lambda: MPPI(0), "`horizon` must be >= 1, got 0"),
        (lambda: MPPI(3, n_iterations=0), "`n_iterations` must be >= 1, got 0"),
        (lambda: MPPI(3, temperature=0), "`temperature` must be positive, got 0"),
        (
            lambda: CEM(3).plan(Linear(), starts(1), th.zeros(1, 4, 2)),
            r"`warm` must have shape \(1, 3, .\), got \(1, 4, 2\)",
        ),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_fractions_of_a_count() -> None:
    with pytest.raises(TypeError, match=r"`n_samples` must be an integer, got 8\.5"):
        MPPI(3, n_samples=8.5)  # type: ignore[arg-type]
