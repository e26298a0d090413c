"""Mazes with several equally good goals, for a point mass or an ant: tasks for multimodal policies."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import EzPickle
from numpy.typing import NDArray

from ardae_envs.checks import RENDER_MODES, check_choice, check_min, check_options
from ardae_envs.maze_drawing import draw_agent, draw_map, draw_path, goal_color
from ardae_envs.maze_simulation import AGENTS, MazeSimulation
from ardae_envs.mazes import Cell, Maze, MazeLike

GOAL_REWARD = 100.0
PROGRESS_REWARD = 10.0  # per cell, of the dense reward
GOAL_RADIUS = 0.5  # in cells
REWARDS = ("sparse", "dense")


class MultiGoalMaze(gym.Env[NDArray[np.float32], NDArray[np.float32]], EzPickle):
    """Reach any one of several goals in a maze, all of which are worth the same (Wang, Liu and Pan 2025).

    The point mass has the dynamics of Gymnasium-Robotics' PointMaze: an action in [-1, 1]² is a force, and the
    observation is (x, y, vx, vy) in meters and m/s. The ant is that of AntMaze; the observation consists of its
    generalized positions and velocities. An episode starts at rest at the start of the map, without noise, and
    terminates within half a cell of a goal, with a reward of 100. The dense reward adds 10 per cell of progress towards
    the nearest goal, in Euclidean distance. An episode is truncated after 150, 300 or 600 steps on "simple", "medium"
    and "hard".

    ``reset(options={"obstacles": True})`` turns the obstacles of the map into walls for this episode, which is not
    visible in the observation; ``{"position": (x, y)}`` sets the start, in cells from the center. ``info["goal"]`` is
    the index of the goal that this step reached, else -1; ``info["is_success"]`` tells whether one was reached.

    Reference: Wang, Liu and Pan, "Learning Intractable Multimodal Policies with Reparameterization and Diversity
    Regularization", NeurIPS 2025, https://arxiv.org/abs/2511.01374, Section 5.1.

    Example:

    >>> import gymnasium as gym
    >>> env = gym.make("ardae_envs:ardae/MultiGoalMaze-v0", maze="simple")
    >>> _ = env.reset(options={"position": (3.6, 4.0)})
    >>> _, reward, terminated, _, info = env.step(env.action_space.high)
    >>> reward, terminated, info["goal"]
    (100.0, True, 1)

    :param maze: "simple", "medium", "hard", or a map as a string or a list (:meth:`ardae_envs.mazes.Maze.parse`).
    :param agent: "point" or "ant".
    :param reward: "sparse" or "dense".
    :param goals: Indices of the goals that count; the others are free cells. None means all.
    :param max_steps: Number of steps after which an episode is truncated; None for the map's own.
    :param trails: Number of episodes whose paths an image shows: the current one and those before it.
    :param render_mode: None or "rgb_array" (a top-down image of the map and the paths).
    :raises ValueError: For an argument out of its range.
    :raises DependencyNotInstalled: If Gymnasium-Robotics or MuJoCo is not installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(
        self,
        maze: MazeLike = "simple",
        agent: str = "point",
        reward: str = "sparse",
        goals: Sequence[int] | None = None,
        max_steps: int | None = None,
        trails: int = 1,
        render_mode: str | None = None,
    ) -> None:
        EzPickle.__init__(self, maze, agent, reward, goals, max_steps, trails, render_mode)
        check_choice("agent", agent, AGENTS)
        check_choice("reward", reward, REWARDS)
        check_choice("render_mode", render_mode, RENDER_MODES)
        check_min("trails", trails, 1)
        self.maze = Maze.parse(maze, max_steps)
        self.goals = _checked_goals(goals, len(self.maze.goals))
        self.dense, self.render_mode = reward == "dense", render_mode
        self.simulation = MazeSimulation(self.maze, AGENTS[agent])
        self._goals = [self.maze.center(self.maze.goals[index]) for index in self.goals]
        self.observation_space = self._observation_space()
        low, high = self.simulation.action_bounds()
        self.action_space = spaces.Box(low, high, dtype=np.float32)
        self._closed = False
        # For each episode, its path and the goal that it reached
        self._paths: deque[tuple[list[tuple[float, float]], int]] = deque(maxlen=trails)

    def _observation_space(self) -> spaces.Box[np.float32]:
        agent, bounds = self.simulation.agent, np.full(self.simulation.state_dim, np.inf, np.float32)
        if math.isfinite(agent.max_speed):
            rows, columns = self.maze.walls.shape
            speed = agent.max_speed + 1  # a step can add up to 1 m/s after the clipping
            bounds[:] = columns / 2 * agent.cell, rows / 2 * agent.cell, speed, speed
        return spaces.Box(-bounds, bounds, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start an episode.

        :param options: "obstacles": whether the obstacles are walls in this episode; "position": (x, y) of the start,
            in cells from the center.
        :raises ValueError: For a position in a wall, and for any other option.
        """
        super().reset(seed=seed)
        options = check_options(options, ("obstacles", "position"))
        self._closed = bool(options.get("obstacles", False))
        self._position = self._start(options)
        self.simulation.reset(self._position, self._closed)
        self._steps = 0
        self._distance = self._nearest()[0]
        self._paths.append(([self._position], -1))
        return self.simulation.state(), {"goal": -1, "is_success": False}

    def _start(self, options: dict[str, Any]) -> tuple[float, float]:
        if "position" not in options:
            return self.maze.center(self.maze.start)
        position = np.asarray(options["position"], np.float64)
        if position.shape != (2,) or not np.isfinite(position).all() or not self._is_free(position):
            raise ValueError(f"`options['position']` must be (x, y) in a free cell, got {options['position']!r}")
        return float(position[0]), float(position[1])

    def _is_free(self, position: NDArray[np.float64]) -> bool:
        n_rows, n_columns = self.maze.walls.shape
        cell: Cell = (math.floor(n_rows / 2 - position[1]), math.floor(position[0] + n_columns / 2))
        inside = 0 <= cell[0] < n_rows and 0 <= cell[1] < n_columns
        return inside and not self.maze.walls[cell] and not (self._closed and cell in self.maze.obstacles)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Apply the action, clipped to its bounds, for one step.

        :raises ValueError: If the action has the wrong number of entries, or entries that are not finite.
        """
        self.simulation.step(action)
        self._position = self.simulation.position()
        self._steps += 1
        distance, goal = self._nearest()
        terminated = distance < GOAL_RADIUS
        reward = GOAL_REWARD if terminated else 0.0
        if self.dense:
            reward += PROGRESS_REWARD * (self._distance - distance)
            self._distance = distance
        goal = goal if terminated else -1
        if self.render_mode is not None:
            path, _ = self._paths.pop()
            path.append(self._position)
            self._paths.append((path, goal))
        truncated = self._steps >= self.maze.max_steps
        return self.simulation.state(), reward, terminated, truncated, {"goal": goal, "is_success": terminated}

    def _nearest(self) -> tuple[float, int]:
        """Return the distance to the nearest goal, in cells, and its index."""
        position = self._position
        return min((math.dist(position, goal), index) for goal, index in zip(self._goals, self.goals, strict=True))

    def render(self) -> NDArray[np.uint8] | None:
        """Return an image of map, paths and agent from above, (24 rows, 24 columns, 3); None without a render mode."""
        if self.render_mode is None:
            return None
        image = draw_map(self.maze, self._closed, self.goals)
        for path, goal in self._paths:
            draw_path(image, self.maze, path, goal_color(goal))
        if self._paths:
            draw_agent(image, self.maze, self._position)
        return image


def _checked_goals(goals: Sequence[int] | None, n_goals: int) -> tuple[int, ...]:
    if goals is None:
        return tuple(range(n_goals))
    checked = tuple(sorted(set(goals)))
    if not checked or not set(checked) <= set(range(n_goals)):
        raise ValueError(f"`goals` must be one or more indices from 0 to {n_goals - 1}, got {goals!r}")
    return checked
