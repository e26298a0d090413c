"""An upper limit for learned models: the planner with the true state and dynamics, and E2C's goal cost."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from numpy.typing import NDArray

import ardae_envs  # noqa: F401
from ardae_rl.planning import ILQR
from ardae_rl.planning.goal import GoalProblem

SPEED = 5.44 / math.sqrt(0.5)  # so that speeds, uniform to 3 π on both sides, spread as sines do
FASTEST = 3 * math.pi


def next_state(state: th.Tensor, action: th.Tensor) -> th.Tensor:
    """Return the next (sin θ, cos θ, speed), (n, 3), with a torque of 0.65, by a Runge-Kutta method."""
    angle, speed = th.atan2(state[:, 0], state[:, 1]), SPEED * state[:, 2]

    def slope(angle: th.Tensor, speed: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return speed, (0.1 * 9.81 * 0.5 * angle.sin() - 0.65 * action[:, 0]) / (0.1 * 0.5**2 / 3)

    h = 0.01
    for _ in range(2):
        a = slope(angle, speed)
        b = slope(angle + 0.5 * h * a[0], speed + 0.5 * h * a[1])
        c = slope(angle + 0.5 * h * b[0], speed + 0.5 * h * b[1])
        d = slope(angle + h * c[0], speed + h * c[1])
        angle = angle + h / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
        speed = speed + h / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
    return th.stack([angle.sin(), angle.cos(), speed.clamp(-FASTEST, FASTEST) / SPEED], 1)


def as_row(state: NDArray[np.float64]) -> th.Tensor:
    angle, speed = state
    return th.tensor([[math.sin(angle), math.cos(angle), speed / SPEED]], dtype=th.float32)


@pytest.mark.slow
def test_ten_steps_ahead_are_enough_for_the_swing_up() -> None:
    """It is upright after a fifth of the steps, and stays there."""
    env = gym.make("ardae/PendulumPixels-v0", size=8)
    problem, planner = GoalProblem(next_state, 1, 2.0, 0.01), ILQR(10, n_iterations=4, n_restarts=6)
    goal, generator, warm = as_row(np.zeros(2)), th.Generator().manual_seed(0), None
    _, info = env.reset(seed=0)
    total = 0.0
    for _ in range(100):
        state = as_row(info["state"])
        actions = planner.plan(problem, GoalProblem.state(state, goal), warm, generator).actions
        warm = th.cat([actions[:, 1:], actions[:, -1:]], 1)
        _, reward, *_, info = env.step(actions[0, 0].numpy())
        th.testing.assert_close(next_state(state, actions[:, 0]), as_row(info["state"]), atol=1e-3, rtol=0)
        total += float(reward)
    assert total >= 80
