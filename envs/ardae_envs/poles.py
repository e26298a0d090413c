"""A pendulum and a cart-pole, seen: the swing-up and balancing tasks of Embed to Control and its successors."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Derivative = Callable[[Floats, float], Floats]

STARTS = ("task", "anywhere")
TASKS = ("swing_up", "balance")
_GRAVITY, _POLE_MASS, _CART_MASS, _LENGTH = 9.81, 0.1, 1.0, 0.5
_SECONDS = 0.02  # of a step
_N_FRAMES = 2


class PixelPole(gym.Env[Any, NDArray[np.float32]]):
    """What the two environments share: observations are two pictures, of the step before and of now.

    ``observation`` and ``desired_goal`` have shape (size, size, 2); the reward is 1 for a step that ends in the goal's
    range, so that a return is that many times the share of steps in the goal.

    :param size: of the square pictures, in pixels
    :param start: "task" for that of the evaluation, or "anywhere"
    :raises ValueError: for other arguments than those accepted
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (Gymnasium's own convention)
    greatest_force: float
    goal: Floats  # a state
    _state: Floats
    _pictures: list[NDArray[np.uint8]]

    def __init__(self, size: int, start: str = "task", render_mode: str | None = None) -> None:
        if start not in STARTS:
            raise ValueError(f"start={start!r}: accepted are {', '.join(map(repr, STARTS))}")
        if size < 8:
            raise ValueError(f"size={size!r}: accepted are 8 and more")
        self.size, self.start, self.render_mode = size, start, render_mode
        pictures = spaces.Box(0, 255, (size, size, _N_FRAMES), np.uint8)
        self.observation_space = spaces.Dict({"observation": pictures, "desired_goal": pictures})
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._goal_pictures = np.stack([self.draw(self.goal)] * _N_FRAMES, -1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        """:param options: "state" in place of a random one

        :raises ValueError: if it is not one
        """
        super().reset(seed=seed)
        if options and "state" in options:
            state = np.array(options["state"], np.float64)
            if state.shape != self.goal.shape or not np.isfinite(state).all():
                raise ValueError(f"options['state']={options['state']!r}: accepted are {len(self.goal)} finite numbers")
            self._state, first = state, state
        elif self.start == "task":
            self._state = first = self.first_state()
        else:
            first = self.any_state()
            self._state = self.following(first, self.np_random.uniform(-1, 1))
        self._pictures = [self.draw(first), self.draw(self._state)]
        return self._observation(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        self._state = self.following(self._state, float(np.clip(action[0], -1, 1)))
        self._pictures = [self._pictures[-1], self.draw(self._state)]
        info = self._info()
        return self._observation(), float(info["is_success"]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        if self.render_mode != "rgb_array":
            return None
        factor = max(1, 240 // self.size)
        return self._pictures[-1].repeat(factor, 0).repeat(factor, 1)[..., None].repeat(3, -1)

    def first_state(self) -> Floats:
        """Where the task begins."""
        raise NotImplementedError

    def any_state(self) -> Floats:
        """Anywhere."""
        raise NotImplementedError

    def following(self, state: Floats, action: float) -> Floats:
        """The next state."""
        raise NotImplementedError

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        """The picture of a state, (size, size)."""
        raise NotImplementedError

    def in_goal(self, state: Floats) -> bool:
        raise NotImplementedError

    def _observation(self) -> dict[str, NDArray[np.uint8]]:
        return {"observation": np.stack(self._pictures, -1), "desired_goal": self._goal_pictures.copy()}

    def _info(self) -> dict[str, Any]:
        return {"state": self._state.copy(), "is_success": self.in_goal(self._state)}


class PendulumPixels(PixelPole):
    """A pendulum with a motor, to be brought upright or held there; the state is (θ, dθ/dt), θ = 0 upright.

    Within 30 degrees of upright is the goal. Masses, lengths and limits are those of PCC (Levine et al. 2020) and PC3
    (Shu et al. 2020).

    :param task: "swing_up", from 9 to 18 degrees beside hanging, or "balance", from upright
    """

    greatest_force = 0.65  # N m
    goal = np.zeros(2)
    _FASTEST = 3 * np.pi

    def __init__(
        self, size: int = 48, task: str = "swing_up", start: str = "task", render_mode: str | None = None
    ) -> None:
        super().__init__(size, start, render_mode)
        if task not in TASKS:
            raise ValueError(f"task={task!r}: accepted are {', '.join(map(repr, TASKS))}")
        self.task = task

    def first_state(self) -> Floats:
        if self.task == "balance":
            return np.zeros(2)
        return np.array([self.np_random.uniform(0.9, 0.95) * np.pi, 0.0])

    def any_state(self) -> Floats:
        return self.np_random.uniform([-np.pi, -self._FASTEST], [np.pi, self._FASTEST])

    def following(self, state: Floats, action: float) -> Floats:
        angle, speed = _integrated(_pendulum, state, self.greatest_force * action)
        return np.array([_wrapped(angle), np.clip(speed, -self._FASTEST, self._FASTEST)])

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        middle, length = np.full(2, self.size / 2), self.size / 2 - 2
        end = middle + length * np.array([-np.cos(state[0]), np.sin(state[0])])  # rows go down
        return np.where(_line(self.size, middle, end, self.size / 12), np.uint8(255), np.uint8(0))

    def in_goal(self, state: Floats) -> bool:
        return bool(abs(state[0]) <= np.pi / 6)


class CartPolePixels(PixelPole):
    """A pole on a cart that is pushed, to be balanced; the state is (θ, dθ/dt, x, dx/dt), θ = 0 upright.

    Within 18 degrees of upright, on the track (2.4 to each side), is the goal; nothing ends an episode. Masses, lengths
    and limits are those of PCC and PC3.
    """

    greatest_force = 10.0  # N
    goal = np.zeros(4)
    _FARTHEST = 2.4
    _FASTEST = np.array([2 * np.pi, 6.0])

    def __init__(self, size: int = 80, start: str = "task", render_mode: str | None = None) -> None:
        super().__init__(size, start, render_mode)

    def first_state(self) -> Floats:
        return np.array([self.np_random.uniform(-np.pi / 8, np.pi / 8), 0.0, 0.0, 0.0])

    def any_state(self) -> Floats:
        most = np.array([np.pi / 10, self._FASTEST[0], self._FARTHEST, self._FASTEST[1]])
        return self.np_random.uniform(-most, most)

    def following(self, state: Floats, action: float) -> Floats:
        angle, turning, x, speed = _integrated(_cart_pole, state, self.greatest_force * action)
        turning, speed = np.array([turning, speed]).clip(-self._FASTEST, self._FASTEST)
        return np.array([_wrapped(angle), turning, x, speed])

    def draw(self, state: Floats) -> NDArray[np.uint8]:
        size, (angle, _, x, _) = self.size, state
        width, height = size / 10, size / 20  # half of the cart's
        joint = np.array([size - 2 * height - 2, size / 2 + x / self._FARTHEST * (size / 2 - width)])
        end = joint + 0.65 * size * np.array([-np.cos(angle), np.sin(angle)])
        rows, columns = np.mgrid[:size, :size] + 0.5
        cart = (np.abs(rows - joint[0]) <= height) & (np.abs(columns - joint[1]) <= width)
        return np.where(cart | _line(size, joint, end, 0.075 * size), np.uint8(255), np.uint8(0))

    def in_goal(self, state: Floats) -> bool:
        return bool(abs(state[0]) < np.pi / 10 and abs(state[2]) < self._FARTHEST)


def _pendulum(state: Floats, torque: float) -> Floats:
    angle, speed = state
    inertia = _POLE_MASS * _LENGTH**2 / 3
    return np.array([speed, (_POLE_MASS * _GRAVITY * _LENGTH * np.sin(angle) - torque) / inertia])


def _cart_pole(state: Floats, force: float) -> Floats:
    angle, turning, _, speed = state
    mass, moment = _CART_MASS + _POLE_MASS, _POLE_MASS * _LENGTH
    pushed = force + moment * turning**2 * np.sin(angle)
    turned = (mass * _GRAVITY * np.sin(angle) - np.cos(angle) * pushed) / (
        4 / 3 * mass * _LENGTH - moment * np.cos(angle) ** 2
    )
    return np.array([turning, turned, speed, (pushed - moment * turned * np.cos(angle)) / mass])


def _integrated(derivative: Derivative, state: Floats, force: float) -> Floats:
    """After a step with a constant force, by Runge and Kutta's method in two halves."""
    h = _SECONDS / 2
    for _ in range(2):
        a = derivative(state, force)
        b = derivative(state + 0.5 * h * a, force)
        c = derivative(state + 0.5 * h * b, force)
        d = derivative(state + h * c, force)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _line(size: int, start: ArrayLike, end: ArrayLike, width: float) -> NDArray[np.bool_]:
    """Pixels whose middle is at most half the width away from a line between two points (row, column), (size, size)."""
    pixels = np.moveaxis(np.mgrid[:size, :size], 0, -1) + 0.5 - np.asarray(start)
    along = np.asarray(end) - np.asarray(start)
    share = (pixels @ along / (along @ along)).clip(0, 1)
    distance = np.linalg.norm(pixels - share[..., None] * along, axis=-1)
    return np.asarray(distance <= width / 2)
