"""A point among obstacles, seen from above: the planar task of Embed to Control, with a picture of the goal."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

SIZE = 40
OBSTACLES = np.array([[20.5, 5.5], [20.5, 13.5], [20.5, 27.5], [20.5, 35.5], [10.5, 20.5], [30.5, 20.5]])
_RADIUS = 2.5  # of a drawn obstacle
_HALF_AGENT, _HALF_DRAWN = 1.5, 1  # of the point's square: how it meets walls and obstacles, and how it is drawn
LONGEST_STEP, GOAL_RADIUS = 3.0, 2.0
STARTS = ("corner", "anywhere")
GOALS = np.array([[37.0, 37.0], [37.0, 3.0], [3.0, 37.0]])
_CORNER = (3.0, 7.0)
_LOW, _HIGH = _HALF_AGENT, SIZE - _HALF_AGENT


class PlanarObstacles(gym.Env[Any, NDArray[np.float32]]):
    """Move a point to where the picture of the goal has it; an action of 1 is a step of three pixels along its axis.

    Observations are pictures of 40 x 40 pixels, ``observation`` and ``desired_goal``; the reward is 1 for a step that
    ends within 2 pixels of the goal, so that a return over 40 steps is that many times the share of steps in the goal.
    A step that would end in an obstacle is not made.

    Reference: Watter et al. (2015), Embed to Control; sizes, starts and goals as in Levine et al. (2020, PCC) and Shu
    et al. (2020, PC3).

    :param start: "corner" for the evaluation (coordinates from 3 to 7), or "anywhere"
    :param noise: standard deviation of what is added to each step
    :raises ValueError: for another start
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, start: str = "corner", noise: float = 0.0, render_mode: str | None = None) -> None:
        if start not in STARTS:
            raise ValueError(f"start={start!r}: accepted are {', '.join(map(repr, STARTS))}")
        if not noise >= 0:
            raise ValueError(f"noise={noise!r}: accepted are numbers from 0 up")
        picture = spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.observation_space = spaces.Dict({"observation": picture, "desired_goal": picture})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.start, self.noise, self.render_mode = start, noise, render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        """:param options: "position" and "goal", (2,), in place of random ones

        :raises ValueError: if the point cannot be there
        """
        super().reset(seed=seed)
        options = options or {}
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
        self._position = moved(self._position, action)
        if self.noise:
            noisy = self._position + self.noise * self.np_random.standard_normal(2)
            self._position = noisy.clip(_LOW, _HIGH)
        info = self._info()
        return self._observation(), float(info["is_success"]), False, False, info

    def render(self) -> NDArray[np.uint8] | None:
        """The point in white, the goal in green, enlarged."""
        if self.render_mode != "rgb_array":
            return None
        picture = draw(self._position).repeat(3, -1)
        goal = draw(self._goal, obstacles=False)[..., 0] > 0
        picture[goal] = (0, 160, 0)
        return picture.repeat(8, 0).repeat(8, 1)

    def _observation(self) -> dict[str, NDArray[np.uint8]]:
        return {"observation": draw(self._position), "desired_goal": draw(self._goal)}

    def _info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self._position - self._goal))
        return {"position": self._position.copy(), "goal": self._goal.copy(), "is_success": distance <= GOAL_RADIUS}


def is_free(position: ArrayLike) -> bool:
    """Whether the point can be there: off the walls, and no obstacle's middle within its square."""
    at = np.asarray(position)
    if (at < _LOW).any() or (at > _HIGH).any():
        return False
    return not (np.abs(OBSTACLES - at) <= _HALF_AGENT).all(1).any()


def free_position(rng: np.random.Generator) -> NDArray[np.float64]:
    """Anywhere, (2,)."""
    while True:
        position = rng.uniform(_LOW, _HIGH, 2)
        if is_free(position):
            return position


def moved(position: ArrayLike, action: ArrayLike) -> NDArray[np.float64]:
    """Where a step ends, (2,), without noise."""
    before = np.asarray(position, np.float64)
    after = (before + LONGEST_STEP * np.asarray(action, np.float64).clip(-1, 1)).clip(_LOW, _HIGH)
    return after if is_free(after) else before


def draw(position: ArrayLike, obstacles: bool = True) -> NDArray[np.uint8]:
    """The picture, (40, 40, 1): point and obstacles white on black. The point is drawn at whole pixels."""
    picture = np.where(_DISCS, np.uint8(255), np.uint8(0)) if obstacles else np.zeros((SIZE, SIZE), np.uint8)
    row, column = np.round(np.asarray(position)).astype(int)
    picture[row - _HALF_DRAWN : row + _HALF_DRAWN, column - _HALF_DRAWN : column + _HALF_DRAWN] = 255
    return picture[..., None]


def _checked(name: str, position: Any) -> NDArray[np.float64]:
    if np.shape(position) != (2,) or not is_free(position):
        raise ValueError(f"options[{name!r}]={position!r}: accepted are two numbers where no wall and no obstacle is")
    return np.array(position, np.float64)


_MIDDLES = np.arange(SIZE) + 0.5
_DISCS = (
    (_MIDDLES[:, None, None] - OBSTACLES[:, 0]) ** 2 + (_MIDDLES[None, :, None] - OBSTACLES[:, 1]) ** 2 <= _RADIUS**2
).any(-1)
