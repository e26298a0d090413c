"""Maps of mazes with several goals: parsed, checked, and measured."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ardae_envs.checks import check_choice, check_min

Cell = tuple[int, int]  # row from the top, column from the left
MazeLike = str | Sequence[Any]
WALL, FREE, START, GOAL, OBSTACLE = "#", ".", "S", "G", "O"
# The cells of Gymnasium-Robotics' maps, and blanks for readability
_ALIASES = {"1": WALL, "0": FREE, " ": FREE, "r": START, "g": GOAL}
_DEFAULT_MAX_STEPS = 300

# The topology of the maps in Wang, Liu and Pan (2025, Appendix A.2), and their maximum numbers of steps
_MAPS = {
    "simple": (
        150,
        """
        ###########
        #G.......G#
        #.........#
        #..O...O..#
        #.........#
        #....S....#
        #.........#
        #..O...O..#
        #.........#
        #G.......G#
        ###########
        """,
    ),
    "medium": (
        300,
        """
        #############
        #G..#...#..G#
        #...#...#...#
        #...O...O...#
        #...........#
        #.###.S.###.#
        #...........#
        #...O...O...#
        #...#...#...#
        #G..#...#..G#
        #############
        """,
    ),
    "hard": (
        600,
        """
        ###############
        ####G.....G####
        ####.O...O.####
        ######...######
        #G.#.......#.G#
        #.O#.#.#.#.#O.#
        #.............#
        #....#.S.#....#
        #.............#
        #.O#.#.#.#.#O.#
        #G.#.......#.G#
        ######...######
        ####.O...O.####
        ####G.....G####
        ###############
        """,
    ),
}
MAZES = tuple(_MAPS)


@dataclass(frozen=True, eq=False)
class Maze:
    """A map of square cells: walls, one start, goals, and obstacles that can be closed for an episode.

    Example:

    >>> from ardae_envs.mazes import Maze
    >>> maze = Maze.parse(["#######", "#G.S.G#", "#######"])
    >>> maze.goals, maze.shortest_paths()
    (((1, 1), (1, 5)), (2, 2))

    :param walls: Whether a cell is a wall, (rows, columns).
    :param start: Row and column of the start.
    :param goals: Rows and columns of the goals, in reading order.
    :param obstacles: Rows and columns of cells that are free unless they are closed for an episode.
    :param max_steps: Number of steps after which an episode is truncated.
    """

    walls: NDArray[np.bool_]
    start: Cell
    goals: tuple[Cell, ...]
    obstacles: tuple[Cell, ...] = ()
    max_steps: int = _DEFAULT_MAX_STEPS

    @classmethod
    def parse(cls, maze: MazeLike, max_steps: int | None = None) -> "Maze":
        """Return a map, given its name, a string or a list.

        A string has one line per row: "#" is a wall, "." or a blank a free cell, "S" the start, "G" a goal and "O" an
        obstacle. A list has one string or one list of cells per row; the cells of Gymnasium-Robotics' maps (1, 0, "r"
        and "g") are accepted, too.

        :param maze: "simple", "medium", "hard", or a map.
        :param max_steps: Maximum number of steps of an episode. None means 150, 300 and 600 for the named maps, and 300
            for any other.
        :raises ValueError: If the map is not a rectangle with a border of walls, one start, and goals that can be
            reached from it.
        """
        default = _DEFAULT_MAX_STEPS
        if isinstance(maze, str):
            if "\n" not in maze:
                check_choice("maze", maze, MAZES)
                default, maze = _MAPS[maze]
            maze = [line.strip() for line in maze.split("\n") if line.strip()]
        max_steps = default if max_steps is None else max_steps
        check_min("max_steps", max_steps, 1)
        parsed = cls._from_cells(_cells(maze), max_steps)
        if not all(parsed.shortest_paths()):
            raise ValueError("`maze` must have a path from the start to each goal, got a goal without one")
        return parsed

    @classmethod
    def _from_cells(cls, cells: NDArray[np.str_], max_steps: int) -> "Maze":
        walls = cells == WALL
        if not (walls[[0, -1]].all() and walls[:, [0, -1]].all()):
            raise ValueError("`maze` must have a border of walls, got one with gaps")
        starts, goals, obstacles = (
            tuple((int(row), int(column)) for row, column in np.argwhere(cells == mark))
            for mark in (START, GOAL, OBSTACLE)
        )
        if len(starts) != 1 or not goals:
            raise ValueError(f"`maze` must have one start and at least one goal, got {len(starts)} and {len(goals)}")
        return cls(walls, starts[0], goals, obstacles, max_steps)

    def center(self, cell: Cell) -> tuple[float, float]:
        """Return the center (x, y) of a cell, in cells; x points right, y up, and the map's center is the origin."""
        rows, columns = self.walls.shape
        return cell[1] - (columns - 1) / 2, (rows - 1) / 2 - cell[0]

    def shortest_paths(self, closed: bool = False) -> tuple[int | None, ...]:
        """Return the length of the shortest path to each goal, in cells; None for a goal that cannot be reached.

        Paths go from a cell to one of its four neighbors (breadth-first search).

        :param closed: Whether the obstacles are walls.
        """
        walls = self.walls.copy()
        if closed and self.obstacles:
            walls[tuple(zip(*self.obstacles, strict=True))] = True
        lengths = {self.start: 0}
        queue = deque([self.start])
        while queue:
            row, column = queue.popleft()
            for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if not walls[cell] and cell not in lengths:
                    lengths[cell] = lengths[row, column] + 1
                    queue.append(cell)
        return tuple(lengths.get(goal) for goal in self.goals)


def _cells(rows: Sequence[Any]) -> NDArray[np.str_]:
    """Return the cells of a list of rows as single characters, (rows, columns)."""
    cells = [[_ALIASES.get(str(cell), str(cell)) for cell in row] for row in rows]
    if len({len(row) for row in cells}) != 1 or not cells[0]:
        raise ValueError(f"`maze` must have rows of the same length, got {[len(row) for row in cells]}")
    unknown = sorted({cell for row in cells for cell in row} - {WALL, FREE, START, GOAL, OBSTACLE})
    if unknown:
        raise ValueError(f"`maze` must consist of '#', '.', 'S', 'G' and 'O', got {unknown[0]!r}")
    return np.array(cells)
