"""The planar task of Embed to Control: a point among obstacles, in top-down images, and an image of the goal."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ardae_envs.checks import RENDER_MODES, check_choice, check_min, check_options, finite_action

SIZE = 40
OBSTACLES = np.array([[20.5, 5.5], [20.5, 13.5], [20.5, 27.5], [20.5, 35.5], [10.5, 20.5], [30.5, 20.5]])
_RADIUS = 2.5  # of an obstacle in the image
_HALF_AGENT, _HALF_DRAWN = 1.5, 1  # half the side of the point's square, for collisions and in the image
MAX_STEP, GOAL_RADIUS = 3.0, 2.0
STARTS = ("corner", "anywhere")
GOALS = np.array([[37.0, 37.0], [37.0, 3.0], [3.0, 37.0]])
_CORNER = (3.0, 7.0)
_LOW, _HIGH = _HALF_AGENT, SIZE - _HALF_AGENT


class PlanarObstacles(gym.Env[Any, NDArray[np.float32]]):
    """Move a point to the position that an image of the goal shows.

    An action of 1 moves the point by three pixels along its axis; a step that would end in an obstacle has no effect.
    Observations are images of 40 x 40 pixels, ``observation`` and ``desired_goal``. A step that ends within 2 pixels of
    the goal has a reward of 1, other steps 0, so that the return over 40 steps is 40 times the fraction of steps in the
    goal.

    Reference: Watter et al. (2015), Embed to Control; sizes, starts and goals as in Levine et al. (2020, PCC) and Shu
    et al. (2020, PC3).

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/PlanarObstacles-v0")
    >>> observation, info = env.reset(options={"position": (37.0, 33.0), "goal": (37.0, 37.0)})
    >>> observation["desired_goal"].shape
    (40, 40, 1)
    >>> env.step([0.0, 1.0])[1]  # one pixel from the goal
    1.0

    :param start: "corner" for evaluation (coordinates from 3 to 7), or "anywhere".
    :param noise: Standard deviation of the noise that is added to each step, in pixels. Noise that would move the point
        into an obstacle is redrawn.
    :param render_mode: None or "rgb_array".
    :raises ValueError: If an argument is invalid.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, start: str = "corner", noise: float = 0.0, render_mode: str | None = None) -> None:
        check_choice("start", start, STARTS)
        check_min("noise", noise, 0)
        check_choice("render_mode", render_mode, RENDER_MODES)
        image = spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.observation_space = spaces.Dict({"observation": image, "desired_goal": image})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.start, self.noise, self.render_mode = start, noise, render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        """Start an episode.

        :param options: "position" and "goal", each of shape (2,), to replace the random ones.
        :raises ValueError: If one of them is in a wall or an obstacle, or for any other option.
        """
        super().reset(seed=seed)
        options = check_options(options, ("position", "goal"))
        if "position" in options:
            self._position = _checked("position", options["position"])
        elif self.start == "corner":
            self._position = self.np_random.uniform(*_CORNER, 2)
        else:
            self._position = free_position(self.np_random)
        if "goal" in options:
            self._goal = _checked("goal", options["goal"])
        else:
            self._goal = GOALS[self.np_random.integers(len(GOALS))]
        return self._observation(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        """Move by the action, clipped to [-1, 1]².

        :raises ValueError: If the action is not two finite numbers.
        """
        self._position = next_position(self._position, finite_action(action, 2))
        if self.noise:
            self._position = noisy_position(self._position, self.noise, self.np_random)
        info = self._info()
        return self._observation(), float(info["is_success"]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """Return an enlarged image (320, 320, 3) with the point in white and the goal in green."""
        if self.render_mode != "rgb_array":
            return None
        image = draw(self._position).repeat(3, -1)
        goal = draw(self._goal, obstacles=False)[..., 0] > 0
        image[goal] = (0, 160, 0)
        return image.repeat(8, 0).repeat(8, 1)

    def _observation(self) -> dict[str, NDArray[np.uint8]]:
        return {"observation": draw(self._position), "desired_goal": draw(self._goal)}

    def _info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self._position - self._goal))
        return {"position": self._position.copy(), "goal": self._goal.copy(), "is_success": distance <= GOAL_RADIUS}


def is_free(position: ArrayLike) -> bool:
    """Return whether the point can be at a position: within the walls, and with no obstacle's center in its square."""
    point = np.asarray(position)
    if (point < _LOW).any() or (point > _HIGH).any():
        return False
    return not (np.abs(OBSTACLES - point) <= _HALF_AGENT).all(1).any()


def free_position(rng: np.random.Generator) -> NDArray[np.float64]:
    """Sample a free position uniformly, (2,)."""
    while True:
        position = rng.uniform(_LOW, _HIGH, 2)
        if is_free(position):
            return position


def next_position(position: ArrayLike, action: ArrayLike) -> NDArray[np.float64]:
    """Return the position after a step without noise, (2,), given a position (2,) and an action (2,) in [-1, 1]."""
    before = np.asarray(position, np.float64)
    after = (before + MAX_STEP * np.asarray(action, np.float64).clip(-1, 1)).clip(_LOW, _HIGH)
    return after if is_free(after) else before


def noisy_position(position: NDArray[np.float64], noise: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Add Gaussian noise to a free position, clipped at the walls; return a position that is free again, (2,)."""
    while True:
        noisy = (position + noise * rng.standard_normal(2)).clip(_LOW, _HIGH)
        if is_free(noisy):
            return noisy


def draw(position: ArrayLike, obstacles: bool = True) -> NDArray[np.uint8]:
    """Return an image of point and obstacles in white on black, (40, 40, 1); the position is rounded to pixels."""
    image = np.where(_DISCS, np.uint8(255), np.uint8(0)) if obstacles else np.zeros((SIZE, SIZE), np.uint8)
    row, column = np.round(np.asarray(position)).astype(int)
    image[row - _HALF_DRAWN : row + _HALF_DRAWN, column - _HALF_DRAWN : column + _HALF_DRAWN] = 255
    return image[..., None]


def _checked(name: str, position: Any) -> NDArray[np.float64]:
    if np.shape(position) != (2,) or not is_free(position):
        raise ValueError(f"`options[{name!r}]` must be a position clear of walls and obstacles, got {position!r}")
    return np.array(position, np.float64)


_CENTERS = np.arange(SIZE) + 0.5
_DISCS = (
    (_CENTERS[:, None, None] - OBSTACLES[:, 0]) ** 2 + (_CENTERS[None, :, None] - OBSTACLES[:, 1]) ** 2 <= _RADIUS**2
).any(-1)
