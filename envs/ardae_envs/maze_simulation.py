"""The MuJoCo simulation of an agent in a maze, with Gymnasium-Robotics' dynamics but less overhead."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ardae_envs.checks import finite_action
from ardae_envs.mazes import Maze
from ardae_envs.optional import missing, require

_WALL_HEIGHT = 0.4  # in cells


@dataclass(frozen=True)
class Agent:
    """The agent's body in the maze: its MuJoCo model, and how an action moves it.

    Example:

    >>> from ardae_envs.maze_simulation import AGENTS
    >>> AGENTS["ant"].cell, AGENTS["ant"].frame_skip
    (4.0, 5)

    :param package: Package that contains the model.
    :param model: Path of the model in that package.
    :param cell: Side of a cell, in meters.
    :param frame_skip: Number of simulation steps per action.
    :param max_speed: Limit to which each velocity is clipped before a step, in m/s.
    :param collides_with_ground: Whether to simulate contacts with the ground.
    """

    package: str
    model: str
    cell: float
    frame_skip: int
    max_speed: float = math.inf
    collides_with_ground: bool = True

    def model_file(self) -> Path:
        """Return the path of the model.

        :raises DependencyNotInstalled: If Gymnasium-Robotics is not installed.
        """
        _package_folder("gymnasium_robotics")
        return _package_folder(self.package) / self.model


AGENTS = {
    # The point mass slides along the ground without friction, so that contacts with it make no difference
    "point": Agent(
        "gymnasium_robotics",
        "envs/assets/point/point.xml",
        cell=1.0,
        frame_skip=1,
        max_speed=5.0,
        collides_with_ground=False,
    ),
    "ant": Agent("gymnasium", "envs/mujoco/assets/ant.xml", cell=4.0, frame_skip=5),
}


class MazeSimulation:
    """An agent in a maze. Positions are in cells; states are in MuJoCo's units, meters and m/s.

    Example:

    >>> from ardae_envs.maze_simulation import AGENTS, MazeSimulation
    >>> from ardae_envs.mazes import Maze
    >>> simulation = MazeSimulation(Maze.parse("simple"), AGENTS["point"])
    >>> simulation.reset((0.0, 0.0))
    >>> simulation.step([1.0, 0.0])
    >>> simulation.state().shape
    (4,)

    :param maze: The map. Each cell of its walls is a box.
    :param agent: One of :data:`AGENTS`.
    :raises DependencyNotInstalled: If Gymnasium-Robotics or MuJoCo is not installed.
    """

    def __init__(self, maze: Maze, agent: Agent) -> None:
        file = agent.model_file()
        require("mujoco", "mazes")
        import mujoco

        self.agent = agent
        self._step, self._reset = mujoco.mj_step, mujoco.mj_resetData
        spec = mujoco.MjSpec.from_file(str(file))
        _remove_textures(spec)
        if not agent.collides_with_ground:
            spec.geom("ground").contype = 0
        cells = [*((int(row), int(column)) for row, column in np.argwhere(_touchable(maze.walls))), *maze.obstacles]
        half, height = agent.cell / 2, _WALL_HEIGHT * agent.cell / 2
        for cell in cells:
            x, y = maze.center(cell)
            spec.worldbody.add_geom(
                name=_name(cell),
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[x * agent.cell, y * agent.cell, height],
                size=[half, half, height],
                contype=1,
                conaffinity=1,
            )
        self._model: Any = spec.compile()
        self._data: Any = mujoco.MjData(self._model)
        self._obstacles = [self._model.geom(_name(cell)).id for cell in maze.obstacles]
        self.state_dim: int = self._model.nq + self._model.nv

    def action_bounds(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the lowest and the highest action."""
        low, high = self._model.actuator_ctrlrange.T.astype(np.float32)
        return low, high

    def reset(self, position: tuple[float, float], closed: bool = False) -> None:
        """Put the agent at rest.

        :param position: Its position (x, y).
        :param closed: Whether the obstacles are walls from now on.
        """
        self._model.geom_contype[self._obstacles] = self._model.geom_conaffinity[self._obstacles] = int(closed)
        self._reset(self._model, self._data)
        self._data.qpos[:2] = np.multiply(position, self.agent.cell)

    def step(self, action: ArrayLike) -> None:
        """Apply an action, which MuJoCo clips to its bounds.

        :raises ValueError: If the action has the wrong number of entries, or entries that are not finite.
        """
        data, max_speed = self._data, self.agent.max_speed
        data.ctrl[:] = finite_action(action, self._model.nu)
        if max_speed < math.inf:
            velocity = data.qvel
            np.clip(velocity, -max_speed, max_speed, out=velocity)
        self._step(self._model, data, self.agent.frame_skip)

    def position(self) -> tuple[float, float]:
        """Return the agent's position (x, y)."""
        x, y = self._data.qpos[:2].tolist()
        return x / self.agent.cell, y / self.agent.cell

    def state(self) -> NDArray[np.float32]:
        """Return generalized positions and velocities, (state_dim,)."""
        return np.concatenate((self._data.qpos, self._data.qvel), dtype=np.float32)


def _remove_textures(spec: Any) -> None:
    """Remove textures and materials, which only MuJoCo's renderer uses: 11 MB, and most of the construction time."""
    for geom in spec.geoms:
        geom.material = ""
    for part in (*spec.materials, *spec.textures):
        spec.delete(part)


def _package_folder(name: str) -> Path:
    """Return the folder of a package without importing it, which takes a third of a second."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise missing(name, "mazes")
    return Path(spec.origin).parent


def _touchable(walls: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask of the walls with a free cell among their eight neighbors; nothing can touch the others."""
    rows, columns = walls.shape
    free = np.pad(~walls, 1)
    neighbors = [free[r : r + rows, c : c + columns] for r in range(3) for c in range(3)]
    touchable: NDArray[np.bool_] = walls & np.any(neighbors, axis=0)
    return touchable


def _name(cell: tuple[int, int]) -> str:
    return f"cell_{cell[0]}_{cell[1]}"
