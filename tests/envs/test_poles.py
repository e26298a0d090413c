"""Pendulum and cart-pole from images: physics against scipy's integrator, images worked out by hand, both checks."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.integrate import solve_ivp
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import ardae_envs  # noqa: F401
from ardae_envs.poles import CartPolePixels, PendulumPixels, PixelPole

IDS = ["ardae/PendulumPixels-v0", "ardae/CartPolePixels-v0"]
ENVS = [PendulumPixels, CartPolePixels]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("env_id", IDS)
def test_checks(env_id: str) -> None:
    check_env(gym.make(env_id, render_mode="rgb_array").unwrapped)
    check_env_for_sb3(gym.make(env_id).unwrapped)


def pendulum(_: float, y: Any, torque: float) -> Any:
    """Derivative from the energy of a rod of 0.1 kg and 0.5 m that turns about its end.

    As in the source, its weight acts at the other end.
    """
    return [y[1], (0.1 * 9.81 * 0.5 * np.sin(y[0]) - torque) / (0.1 * 0.25 / 3)]


def cart_pole(_: float, y: Any, force: float) -> Any:
    """The cart-pole equations of Barto, Sutton and Anderson (1983), for the lengths and masses of the task."""
    sin, cos = np.sin(y[0]), np.cos(y[0])
    acceleration = (force + 0.05 * y[1] ** 2 * sin) / 1.1
    turned = (9.81 * sin - cos * acceleration) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    return [y[1], turned, y[3], acceleration - 0.05 * turned * cos / 1.1]


@pytest.mark.parametrize(("env", "equations"), [(PendulumPixels(), pendulum), (CartPolePixels(), cart_pole)])
def test_physics(env: PixelPole, equations: Any) -> None:
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(20):
        state, action = 0.3 * env.random_state(), rng.uniform(-1, 1)
        arguments = (env.max_force * action,)
        expected = solve_ivp(equations, (0, 0.02), state, args=arguments, rtol=1e-10, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(env.next_state(state, action), expected, atol=1e-5)


def test_limits() -> None:
    pole = PendulumPixels()
    assert pole.next_state(np.array([3.1, 9.0]), 0.0)[0] < -3.0, "angles go round"
    assert pole.next_state(np.array([1.5, 3 * np.pi]), 0.0)[1] == 3 * np.pi
    np.testing.assert_array_equal(CartPolePixels().next_state(np.array([0, 6.2, 0, 5.99]), 1.0)[3], 6.0)


def test_images_of_the_pendulum() -> None:
    """Four pixels wide, from the center: up, to the right, and rotated by any angle."""
    env = PendulumPixels()
    up, right, down = (env.draw(np.array([angle, 0.0])) for angle in (0, np.pi / 2, np.pi))
    assert up[2:24, 22:26].all() and not up[28:].any() and not up[:, :21].any()
    np.testing.assert_array_equal(right, np.rot90(up, -1))
    np.testing.assert_array_equal(down, up[::-1])
    small = PendulumPixels(size=16).draw(np.zeros(2))
    assert small.shape == (16, 16) and small.any() and small.max() == 255


def test_images_of_the_cart_pole() -> None:
    env = CartPolePixels()
    center, end = env.draw(np.zeros(4)), env.draw(np.array([0, 0, 2.4, 0]))
    assert center[66:74, 32:48].all() and center[25:66, 37:43].all() and not center[:, :30].any()
    assert end[66:74, 64:80].all(), "the track ends at the border of the image"


def test_two_frames() -> None:
    """The previous image, and the current one."""
    env = PendulumPixels()
    first, info = env.reset(seed=0)
    np.testing.assert_array_equal(first["observation"][..., 0], first["observation"][..., 1])
    np.testing.assert_array_equal(first["observation"][..., 1], env.draw(info["state"]))
    second, *_, info = env.step(np.array([-1.0], np.float32))
    np.testing.assert_array_equal(second["observation"][..., 0], first["observation"][..., 1])
    np.testing.assert_array_equal(second["observation"][..., 1], env.draw(info["state"]))
    np.testing.assert_array_equal(second["desired_goal"], np.stack([env.draw(np.zeros(2))] * 2, -1))


def test_starts_and_goals() -> None:
    swing_up, balance, cart = PendulumPixels(), PendulumPixels(task="balance"), CartPolePixels()
    angles = [swing_up.reset(seed=seed)[1]["state"][0] for seed in range(100)]
    assert 0.9 * np.pi <= min(angles) and max(angles) <= 0.95 * np.pi
    np.testing.assert_array_equal(balance.reset(seed=0)[1]["state"], [0, 0])
    states = np.array([cart.reset(seed=seed)[1]["state"] for seed in range(100)])
    assert np.abs(states[:, 0]).max() <= np.pi / 8 and (states[:, 1:] == 0).all()
    everywhere = PendulumPixels(start="anywhere")
    states = np.array([everywhere.reset(seed=seed)[1]["state"] for seed in range(300)])
    assert np.ptp(states, axis=0).min() > 6
    for env, state, inside in [
        (swing_up, [0.52, 0], True),
        (swing_up, [0.53, 0], False),
        (cart, [-0.31, 0, 2.3, 0], True),
        (cart, [0.32, 0, 0, 0], False),
        (cart, [0, 0, -2.4, 0], False),
    ]:
        assert env.reset(options={"state": state})[1]["is_success"] is inside


def test_upright_without_a_motor_falls() -> None:
    """From nearly upright it leaves the goal without torque, and stays there with a controller that knows the state."""
    for controlled in (False, True):
        env = gym.make(IDS[0], task="balance")
        _, info = env.reset(seed=0, options={"state": [0.05, 0.0]})
        total, over = 0.0, False
        while not over:
            torque = np.clip(3 * info["state"][0] + 0.3 * info["state"][1], -1, 1) if controlled else 0.0
            _, reward, _, over, info = env.step(np.array([torque], np.float32))
            total += float(reward)
        assert total == 100 if controlled else total < 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PendulumPixels(task="spin"), "`task` must be one of 'swing_up', 'balance', got 'spin'"),
        (lambda: CartPolePixels(start="left"), "`start` must be one of 'task', 'anywhere', got 'left'"),
        (lambda: PendulumPixels(size=4), "`size` must be >= 8, got 4"),
        (
            lambda: PendulumPixels().reset(options={"state": [1.0]}),
            r"`options\['state'\]` must be 2 finite numbers, got \[1.0\]",
        ),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
