"""Maps: parsing, errors, shortest paths, images."""

from typing import Any

import numpy as np
import pytest

from ardae_envs.maze_drawing import PIXELS, draw_agent, draw_map, draw_path, goal_color
from ardae_envs.mazes import MAZES, Maze


@pytest.mark.parametrize(
    ("name", "shape", "n_goals", "lengths", "max_steps"),
    [("simple", (11, 11), 4, 8, 150), ("medium", (11, 13), 4, 9, 300), ("hard", (15, 15), 8, 9, 600)],
)
def test_maps(name: str, shape: tuple[int, int], n_goals: int, lengths: int, max_steps: int) -> None:
    maze = Maze.parse(name)
    assert maze.walls.shape == shape and maze.max_steps == max_steps
    assert maze.center(maze.start) == (0, 0)
    # All goals are equally far away, and stay within reach when the obstacles are closed
    assert maze.shortest_paths() == maze.shortest_paths(closed=True) == (lengths,) * n_goals
    assert len(maze.obstacles) == (4 if n_goals == 4 else 8)
    for mirrored in (maze.walls[::-1], maze.walls[:, ::-1]):
        np.testing.assert_array_equal(mirrored, maze.walls)


def test_shortest_paths_by_hand() -> None:
    maze = Maze.parse(
        """
        #######
        #G...G#
        ###.#.#
        #S.O..#
        #######
        """,
        max_steps=7,
    )
    assert maze.start == (3, 1) and maze.goals == ((1, 1), (1, 5)) and maze.obstacles == ((3, 3),)
    assert maze.shortest_paths() == (6, 6)
    assert maze.shortest_paths(closed=True) == (None, None)
    assert maze.max_steps == 7
    assert maze.center((1, 5)) == (2, 1)


def test_forms_of_one_map() -> None:
    text = Maze.parse("#####\n#S.G#\n#####")
    lists: list[Any] = [
        ["#####", "#S G#", "#####"],
        [[1, 1, 1, 1, 1], [1, "r", 0, "g", 1], [1] * 5],
    ]
    for maze in map(Maze.parse, lists):
        np.testing.assert_array_equal(maze.walls, text.walls)
        assert (maze.start, maze.goals, maze.max_steps) == (text.start, text.goals, 300)


@pytest.mark.parametrize(
    ("maze", "message"),
    [
        ("huge", "`maze` must be one of 'simple', 'medium', 'hard', got 'huge'"),
        (["####", "#SG#", "###"], "`maze` must have rows of the same length, got .4, 4, 3."),
        (["####", "#SX#", "####"], "`maze` must consist of '#', '.', 'S', 'G' and 'O', got 'X'"),
        (["####", "#SG.", "####"], "`maze` must have a border of walls"),
        (["####", "#SS#", "####"], "`maze` must have one start and at least one goal, got 2 and 0"),
        (["#####", "#S#G#", "#####"], "`maze` must have a path from the start to each goal"),
    ],
)
def test_wrong_maps_are_refused(maze: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Maze.parse(maze)


def test_wrong_max_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_steps` must be >= 1, got 0"):
        Maze.parse("simple", max_steps=0)
    assert Maze.parse("hard", max_steps=10).max_steps == 10
    assert all(Maze.parse(name).max_steps > 10 for name in MAZES)


def test_images() -> None:
    maze = Maze.parse(["#######", "#G.S.O#", "#######"])
    image = draw_map(maze)
    assert image.shape == (3 * PIXELS, 7 * PIXELS, 3) and image.dtype == np.uint8
    middle = PIXELS + PIXELS // 2
    closed = draw_map(maze, closed=True)
    changed = (image != closed).any(-1)
    assert changed[middle, 5 * PIXELS + PIXELS // 2] and not changed[:, : 5 * PIXELS].any()
    draw_path(image, maze, [(0, 0), (-2, 0)], goal_color(0))
    row = image[middle]
    assert (row[2 * PIXELS : 3 * PIXELS] == goal_color(0)).all(), "without gaps"
    draw_agent(image, maze, (-2, 0))
    assert tuple(image[middle, PIXELS + PIXELS // 2]) == (30, 30, 30)
    assert goal_color(-1) == (140, 140, 140)
