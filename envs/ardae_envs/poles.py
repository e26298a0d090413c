"""Pendulum and cart-pole with images: the swing-up and balancing tasks of Embed to Control and later papers."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ardae_envs.checks import RENDER_MODES, check_choice, check_min, check_options, finite_action

Floats = NDArray[np.float64]
Derivative = Callable[[Floats, float], Floats]

STARTS = ("task", "anywhere")
TASKS = ("swing_up", "balance")
_GRAVITY, _POLE_MASS, _CART_MASS, _LENGTH = 9.81, 0.1, 1.0, 0.5
_SECONDS = 0.02  # duration of a step
_N_FRAMES = 2


class PixelPole(gym.Env[Any, NDArray[np.float32]]):
    """Base class of both environments, whose observations show the previous and the current state.

    ``observation`` and ``desired_goal`` have shape (size, size, 2). A step that ends in the goal region has a reward of
    1, other steps 0, so that the mean reward is the fraction of steps in the goal. A subclass defines ``goal``,
    ``max_force`` and the five methods that raise ``NotImplementedError`` here.

    Example:

    >>> from ardae_envs.poles import CartPolePixels, PixelPole
    >>> env: PixelPole = CartPolePixels(size=32)
    >>> env.draw(env.goal).shape
    (32, 32)

    :param size: Width and height of the images, in pixels.
    :param start: "task" for the start of the task, as in evaluation, or "anywhere".
    :param render_mode: None or "rgb_array".
    :raises ValueError: If an argument is invalid.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (Gymnasium's own convention)
    max_force: float
    goal: Floats  # the goal's state
    _state: Floats
    _images: list[NDArray[np.uint8]]

    def __init__(self, size: int, start: str = "task", render_mode: str | None = None) -> None:
        check_choice("start", start, STARTS)
        check_min("size", size, 8)
        check_choice("render_mode", render_mode, RENDER_MODES)
        self.size, self.start, self.render_mode = size, start, render_mode
        images = spaces.Box(0, 255, (size, size, _N_FRAMES), np.uint8)
        self.observation_space = spaces.Dict({"observation": images, "desired_goal": images})
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._goal_images = np.stack([self.draw(self.goal)] * _N_FRAMES, -1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        """Start an episode.

        :param options: "state", the initial state, to replace the random one.
        :raises ValueError: If it has the wrong shape or is not finite, or for any other option.
        """
        super().reset(seed=seed)
        options = check_options(options, ("state",))
        if "state" in options:
            state = np.array(options["state"], np.float64)
            if state.shape != self.goal.shape or not np.isfinite(state).all():
                raise ValueError(
                    f"`options['state']` must be {len(self.goal)} finite numbers, got {options['state']!r}"
                )
            self._state, previous = state, state
        elif self.start == "task":
            self._state = previous = self.initial_state()
        else:
            previous = self.random_state()
            self._state = self.next_state(previous, self.np_random.uniform(-1, 1))
        self._images = [self.draw(previous), self.draw(self._state)]
        return self._observation(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        """Apply the action, clipped to [-1, 1].

        :raises ValueError: If the action is not one finite number.
        """
        self._state = self.next_state(self._state, float(finite_action(action, 1)[0].clip(-1, 1)))
        self._images = [self._images[-1], self.draw(self._state)]
        info = self._info()
        return self._observation(), float(info["is_success"]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        if self.render_mode != "rgb_array":
            return None
        factor = max(1, 240 // self.size)
        return self._images[-1].repeat(factor, 0).repeat(factor, 1)[..., None].repeat(3, -1)

    def initial_state(self) -> Floats:
        """Sample an initial state of the task."""
        raise NotImplementedError

    def random_state(self) -> Floats:
        """Sample a state anywhere in the state space."""
        raise NotImplementedError

    def next_state(self, state: Floats, action: float) -> Floats:
        """Return the state after one step with an action in [-1, 1]."""
        raise NotImplementedError

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        """Draw a state, (size, size)."""
        raise NotImplementedError

    def in_goal(self, state: Floats) -> bool:
        """Return whether a state is in the goal region."""
        raise NotImplementedError

    def _observation(self) -> dict[str, NDArray[np.uint8]]:
        return {"observation": np.stack(self._images, -1), "desired_goal": self._goal_images.copy()}

    def _info(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "is_success": self.in_goal(self._state)}


class PendulumPixels(PixelPole):
    """A pendulum to swing up or balance with a motor; the state is (θ, dθ/dt), with θ = 0 upright.

    The goal region is within 30 degrees of upright. Masses, lengths and limits are those of PCC (Levine et al. 2020)
    and PC3 (Shu et al. 2020).

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/PendulumPixels-v0", task="balance")
    >>> observation, info = env.reset(seed=0)
    >>> observation["observation"].shape
    (48, 48, 2)
    >>> env.step([0.0])[1]
    1.0

    :param size: Width and height of the images, in pixels.
    :param task: "swing_up", which starts 9 to 18 degrees from hanging down, or "balance", which starts upright.
    :param start: "task" for the start of the task, as in evaluation, or "anywhere".
    :param render_mode: None or "rgb_array".
    :raises ValueError: If an argument is invalid.
    """

    max_force = 0.65  # N m
    goal = np.zeros(2)
    _MAX_SPEED = 3 * np.pi

    def __init__(
        self, size: int = 48, task: str = "swing_up", start: str = "task", render_mode: str | None = None
    ) -> None:
        super().__init__(size, start, render_mode)
        check_choice("task", task, TASKS)
        self.task = task

    def initial_state(self) -> Floats:
        if self.task == "balance":
            return np.zeros(2)
        return np.array([self.np_random.uniform(0.9, 0.95) * np.pi, 0.0])

    def random_state(self) -> Floats:
        return self.np_random.uniform([-np.pi, -self._MAX_SPEED], [np.pi, self._MAX_SPEED])

    def next_state(self, state: Floats, action: float) -> Floats:
        angle, speed = _integrated(_pendulum, state, self.max_force * action)
        return np.array([wrapped_angle(angle), np.clip(speed, -self._MAX_SPEED, self._MAX_SPEED)])

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        middle, length = np.full(2, self.size / 2), self.size / 2 - 2
        end = middle + length * np.array([-np.cos(state[0]), np.sin(state[0])])  # rows go down
        return np.where(_line(self.size, middle, end, self.size / 12), np.uint8(255), np.uint8(0))

    def in_goal(self, state: Floats) -> bool:
        return bool(abs(state[0]) <= np.pi / 6)


class CartPolePixels(PixelPole):
    """A pole to balance by pushing its cart; the state is (θ, dθ/dt, x, dx/dt), with θ = 0 upright.

    The goal region is within 18 degrees of upright and on the track, |x| < 2.4; episodes never terminate. Masses,
    lengths and limits are those of PCC and PC3.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/CartPolePixels-v0")
    >>> observation, info = env.reset(options={"state": [0.0, 0.0, 0.0, 0.0]})
    >>> env.step([0.0])[1]
    1.0

    :param size: Width and height of the images, in pixels.
    :param start: "task" for the start of the task, as in evaluation, or "anywhere".
    :param render_mode: None or "rgb_array".
    :raises ValueError: If an argument is invalid.
    """

    max_force = 10.0  # N
    goal = np.zeros(4)
    _MAX_POSITION = 2.4
    _MAX_SPEED = np.array([2 * np.pi, 6.0])

    def __init__(self, size: int = 80, start: str = "task", render_mode: str | None = None) -> None:
        super().__init__(size, start, render_mode)

    def initial_state(self) -> Floats:
        return np.array([self.np_random.uniform(-np.pi / 8, np.pi / 8), 0.0, 0.0, 0.0])

    def random_state(self) -> Floats:
        bounds = np.array([np.pi / 10, self._MAX_SPEED[0], self._MAX_POSITION, self._MAX_SPEED[1]])
        return self.np_random.uniform(-bounds, bounds)

    def next_state(self, state: Floats, action: float) -> Floats:
        angle, angular_speed, x, speed = _integrated(_cart_pole, state, self.max_force * action)
        angular_speed, speed = np.array([angular_speed, speed]).clip(-self._MAX_SPEED, self._MAX_SPEED)
        return np.array([wrapped_angle(angle), angular_speed, x, speed])

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        size, (angle, _, x, _) = self.size, state
        width, height = size / 10, size / 20  # half the size of the cart
        joint = np.array([size - 2 * height - 2, size / 2 + x / self._MAX_POSITION * (size / 2 - width)])
        end = joint + 0.65 * size * np.array([-np.cos(angle), np.sin(angle)])
        rows, columns = np.mgrid[:size, :size] + 0.5
        cart = (np.abs(rows - joint[0]) <= height) & (np.abs(columns - joint[1]) <= width)
        return np.where(cart | _line(size, joint, end, 0.075 * size), np.uint8(255), np.uint8(0))

    def in_goal(self, state: Floats) -> bool:
        return bool(abs(state[0]) < np.pi / 10 and abs(state[2]) < self._MAX_POSITION)


def _pendulum(state: Floats, torque: float) -> Floats:
    angle, speed = state
    inertia = _POLE_MASS * _LENGTH**2 / 3
    return np.array([speed, (_POLE_MASS * _GRAVITY * _LENGTH * np.sin(angle) - torque) / inertia])


def _cart_pole(state: Floats, force: float) -> Floats:
    angle, angular_speed, _, speed = state
    mass, moment = _CART_MASS + _POLE_MASS, _POLE_MASS * _LENGTH
    total_force = force + moment * angular_speed**2 * np.sin(angle)
    angular_acceleration = (mass * _GRAVITY * np.sin(angle) - np.cos(angle) * total_force) / (
        4 / 3 * mass * _LENGTH - moment * np.cos(angle) ** 2
    )
    acceleration = (total_force - moment * angular_acceleration * np.cos(angle)) / mass
    return np.array([angular_speed, angular_acceleration, speed, acceleration])


def _integrated(derivative: Derivative, state: Floats, force: float) -> Floats:
    """Return the state after one step with a constant force, by two Runge-Kutta steps of half the duration."""
    h = _SECONDS / 2
    for _ in range(2):
        a = derivative(state, force)
        b = derivative(state + 0.5 * h * a, force)
        c = derivative(state + 0.5 * h * b, force)
        d = derivative(state + h * c, force)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


def wrapped_angle(angle: float) -> float:
    """Return the angle in [-π, π)."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _line(size: int, start: ArrayLike, end: ArrayLike, width: float) -> NDArray[np.bool_]:
    """Return a mask (size, size) of the pixels whose centers are within ``width`` / 2 of the line between two points.

    :param start: Row and column of one end.
    :param end: Row and column of the other end.
    """
    pixels = np.moveaxis(np.mgrid[:size, :size], 0, -1) + 0.5 - np.asarray(start)
    along = np.asarray(end) - np.asarray(start)
    fraction = (pixels @ along / (along @ along)).clip(0, 1)
    distance = np.linalg.norm(pixels - fraction[..., None] * along, axis=-1)
    return np.asarray(distance <= width / 2)
