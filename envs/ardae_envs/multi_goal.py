"""The multi-goal point mass: the smallest task whose optimal maximum-entropy policy has several modes."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ardae_envs.checks import RENDER_MODES, check_choice, check_options, finite_action

GOALS: NDArray[np.float64] = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
GOAL_RADIUS = 1.0
GOAL_REWARD = 10.0
POSITION_LIMIT = 7.0
ACTION_COST = 30.0
START_STD = 0.1

_IMAGE_SIZE = 252  # pixels; 18 per unit of length
_BACKGROUND, _GOAL, _TRAIL, _AGENT = (250, 250, 247), (150, 200, 150), (150, 170, 210), (40, 70, 140)


class MultiGoalEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A point mass in the plane that should reach any one of four goals (Haarnoja et al. 2017, Section 5.1).

    State x in [-7, 7]^2 (also the observation), action a in [-1, 1]^2, goals g at (5, 0), (-5, 0), (0, 5), (0, -5):

        x' = clip(x + a, -7, 7)
        r  = -30 |a|^2 - min_g |x' - g|^2  (+ 10, and the episode terminates, if min_g |x' - g| < 1)

    The distance cost and the goal test use the state *after* the move, x'; the action is clipped to its box first.
    An episode starts at x ~ N(0, 0.1^2 I). The registered ``ardae/MultiGoal-v0`` is truncated after 30 steps.

    ``reset(options={"position": (x, y)})`` starts from a given position. ``info["goal"]`` is the index into ``GOALS``
    of the goal that this step reached, else -1.

    Reference: Haarnoja, Tang, Abbeel, Levine, "Reinforcement Learning with Deep Energy-Based Policies", ICML 2017.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/MultiGoal-v0")
    >>> _ = env.reset(options={"position": (3.5, 0.0)})
    >>> observation, reward, terminated, _, info = env.step([0.6, 0.0])
    >>> terminated, info["goal"]
    (True, 0)

    :param render_mode: None or "rgb_array" (an image of the goals, the path so far and the position).
    :raises ValueError: If ``render_mode`` is neither.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, render_mode: str | None = None) -> None:
        check_choice("render_mode", render_mode, RENDER_MODES)
        self.render_mode = render_mode
        self.observation_space = spaces.Box(-POSITION_LIMIT, POSITION_LIMIT, shape=(2,), dtype=np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self._path: list[NDArray[np.float64]] = [np.zeros(2)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start at N(0, 0.1^2 I), or at ``options["position"]``.

        :raises ValueError: If the position is outside the arena, or for any other option.
        """
        super().reset(seed=seed)
        options = check_options(options, ("position",))
        # Sampled even if a position is given, so that the option does not change later episodes of a seeded sequence
        start = _clip_position(START_STD * self.np_random.standard_normal(2))
        if "position" in options:
            start = np.asarray(options["position"], dtype=np.float64)
            if start.shape != (2,) or not (np.abs(start) <= POSITION_LIMIT).all():
                raise ValueError(f"`options['position']` must be two numbers in [-7, 7], got {options['position']!r}")
        self._path = [start]
        return start.astype(np.float32), {"goal": -1}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Move by the action, clipped to [-1, 1]^2.

        :raises ValueError: If the action is not two finite numbers.
        """
        move = finite_action(action, 2).clip(-1.0, 1.0)
        position = _clip_position(self._path[-1] + move)
        self._path.append(position)
        squared = ((position - GOALS) ** 2).sum(axis=1)
        nearest = int(squared.argmin())
        terminated = bool(squared[nearest] < GOAL_RADIUS**2)
        reward = -ACTION_COST * float(move @ move) - float(squared[nearest]) + GOAL_REWARD * terminated
        return position.astype(np.float32), reward, terminated, False, {"goal": nearest if terminated else -1}

    def render(self) -> NDArray[np.uint8] | None:
        """Return an image with y pointing up, (252, 252, 3), uint8; None without a render mode."""
        if self.render_mode is None:
            return None
        centers = (np.arange(_IMAGE_SIZE) + 0.5) * (2 * POSITION_LIMIT / _IMAGE_SIZE) - POSITION_LIMIT
        pixels = np.stack(np.meshgrid(centers, -centers), axis=-1)  # row, column, (x, y)
        image = np.full((_IMAGE_SIZE, _IMAGE_SIZE, 3), _BACKGROUND, dtype=np.uint8)
        discs = [(goal, GOAL_RADIUS, _GOAL) for goal in GOALS]
        discs += [(position, 0.1, _TRAIL) for position in self._path[:-1]]
        discs += [(self._path[-1], 0.2, _AGENT)]
        for center, radius, color in discs:
            image[((pixels - center) ** 2).sum(axis=-1) < radius**2] = color
        return image


def _clip_position(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(position, -POSITION_LIMIT, POSITION_LIMIT)
