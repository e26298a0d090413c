"""The multi-goal maze: dynamics as in Gymnasium-Robotics, walls that hold, exact rewards and ends, obstacles."""

import contextlib
import io
import math
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_checker import data_equivalence as same
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env

import ardae_envs  # noqa: F401 (registers the environment)
from ardae_envs.maze_drawing import PIXELS
from ardae_envs.mazes import MAZES, Maze
from ardae_envs.multi_goal_maze import MultiGoalMaze

ENV_ID = "ardae/MultiGoalMaze-v0"


def held_actions(n: int, hold: int, seed: int = 0) -> NDArray[np.float32]:
    actions = np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], (n, 2)).astype(np.float32)
    return actions.repeat(hold, axis=0)


def walk(env: MultiGoalMaze, actions: NDArray[np.float32], **options: Any) -> NDArray[np.float64]:
    """Return the positions after each action, (n + 1, 2), whatever ends on the way."""
    env.reset(options=options)
    positions = [env.simulation.position()]
    for action in actions:
        env.step(action)
        positions.append(env.simulation.position())
    return np.array(positions)


def push(direction: tuple[float, float], n: int) -> NDArray[np.float32]:
    return np.tile(np.array(direction, np.float32), (n, 1))


def test_dynamics_are_those_of_point_maze() -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv
    walls = Maze.parse("medium").walls
    reference = PointMazeEnv(maze_map=walls.astype(int).tolist())
    reference.reset(seed=0)
    reference.point_env.set_state(np.zeros(2), np.zeros(2))
    env = MultiGoalMaze("medium")
    env.reset()
    for action in held_actions(100, 20):
        expected = reference.point_env.step(action)[0]
        np.testing.assert_array_equal(env.step(action)[0], expected.astype(np.float32))
    reference.close()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("maze", MAZES)
def test_no_path_through_walls_at_full_speed(maze: str, closed: bool) -> None:
    env = MultiGoalMaze(maze)
    walls = env.maze.walls.copy()
    if closed:
        walls[tuple(zip(*env.maze.obstacles, strict=True))] = True
    rows, columns = walls.shape
    straight = [push((math.cos(angle), math.sin(angle)), 250) for angle in np.linspace(0, 2 * math.pi, 24)]
    for actions in [*straight, held_actions(80, 50)]:
        x, y = walk(env, actions, obstacles=closed).T
        assert np.abs(np.diff([x, y])).max() < 0.06
        assert not walls[np.floor(rows / 2 - y).astype(int), np.floor(x + columns / 2).astype(int)].any()
    assert env.observation_space.contains(env.step(np.ones(2, np.float32))[0])


def test_the_start_is_fixed() -> None:
    for maze in MAZES:
        env = MultiGoalMaze(maze)
        starts = [env.reset(seed=seed)[0] for seed in (0, 1, None)]
        for start in starts:
            np.testing.assert_array_equal(start, np.zeros(4, np.float32))


@pytest.mark.parametrize("maze", MAZES)
def test_obstacles_are_closed_only_when_asked(maze: str) -> None:
    """Fly towards each obstacle from a cell below or above it; 100 steps are enough for more than two cells."""
    env = MultiGoalMaze(maze)
    for obstacle in env.maze.obstacles:
        x, y = env.maze.center(obstacle)
        inwards = -math.copysign(1, y)
        if env.maze.walls[obstacle[0] - int(inwards), obstacle[1]]:
            inwards = -inwards
        position = (x, y + inwards)
        actions = push((0, -inwards), 40)
        for closed in (False, True, False):
            end = walk(env, actions, position=position, obstacles=closed)[-1]
            assert (abs(end[1] - y) < 0.5 or (end[1] - y) * inwards < 0) == (not closed)
    env.reset(options={"obstacles": True})
    env.reset()
    assert not env._closed


def test_rewards_and_ends_by_hand() -> None:
    """The goal of this corridor is 3 cells away; the position after each step is the simulation's own."""
    corridor = ["#######", "#S..G.#", "#######"]
    sparse, dense = MultiGoalMaze(corridor), MultiGoalMaze(corridor, reward="dense")
    sparse.reset()
    dense.reset()
    action, before, total = np.array([1, 0], np.float32), 3.0, 0.0
    for _ in range(300):
        _, reward, terminated, truncated, info = sparse.step(action)
        _, dense_reward, *others = dense.step(action)
        distance = 1.0 - sparse.simulation.position()[0]  # the goal is at x = 1
        assert terminated == (distance < 0.5)
        assert reward == (100.0 if terminated else 0.0)
        assert dense_reward == pytest.approx(reward + 10 * (before - distance), abs=1e-9)
        assert others == [terminated, truncated, info]
        assert info == {"goal": 0 if terminated else -1, "is_success": terminated} and not truncated
        before, total = distance, total + dense_reward
        if terminated:
            break
    assert total == pytest.approx(100 + 10 * (3 - before)) and 0.4 < before < 0.5


@pytest.mark.parametrize("maze", MAZES)
def test_every_goal_is_reported(maze: str) -> None:
    env = MultiGoalMaze(maze)
    for index, goal in enumerate(env.maze.goals):
        env.reset(options={"position": env.maze.center(goal)})
        _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
        assert (reward, terminated, info["goal"]) == (100.0, True, index)


def test_goals_that_do_not_count_are_free_cells() -> None:
    env = MultiGoalMaze("simple", goals=[2], reward="dense")
    for index, goal in enumerate(env.maze.goals):
        env.reset(options={"position": env.maze.center(goal)})
        _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
        assert (terminated, info["goal"]) == ((True, 2) if index == 2 else (False, -1))
        assert (reward == 100.0) == (index == 2)
    image = MultiGoalMaze("simple", goals=[2], render_mode="rgb_array")
    image.reset(seed=0)
    drawn = image.render()
    assert drawn is not None
    rows, columns = env.maze.walls.shape
    for index, goal in enumerate(env.maze.goals):
        x, y = env.maze.center(goal)
        pixel = drawn[round((rows / 2 - y) * PIXELS), round((x + columns / 2) * PIXELS)]
        assert (np.ptp(pixel) > 20) == (index == 2), "colored, or as white as the floor"


def test_truncated_by_the_number_of_steps_of_the_map() -> None:
    for maze, max_steps in (("simple", 150), ("medium", 300), ("hard", 600)):
        env = MultiGoalMaze(maze)
        env.reset()
        ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(max_steps)]
        assert ends == [(False, False)] * (max_steps - 1) + [(False, True)]
    env = MultiGoalMaze(max_steps=2)
    env.reset()
    assert [env.step(np.zeros(2, np.float32))[3] for _ in range(2)] == [False, True]


def test_episodes_are_reproducible() -> None:
    first, second = MultiGoalMaze("hard"), MultiGoalMaze("hard")
    walk(second, held_actions(20, 20, seed=1), obstacles=True)  # leaves nothing behind
    assert same(first.reset(seed=3), second.reset(seed=3))
    for action in held_actions(20, 20):
        assert same(first.step(action), second.step(action))
    first.action_space.seed(5)
    second.action_space.seed(5)
    assert same(first.action_space.sample(), second.action_space.sample())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maze": "huge"}, "`maze` must be one of 'simple', 'medium', 'hard', got 'huge'"),
        ({"agent": "car"}, "`agent` must be one of 'point', 'ant', got 'car'"),
        ({"reward": "shaped"}, "`reward` must be one of 'sparse', 'dense', got 'shaped'"),
        ({"goals": [4]}, "`goals` must be one or more indices from 0 to 3, got .4."),
        ({"goals": []}, "`goals` must be one or more indices from 0 to 3"),
        ({"trails": 0}, "`trails` must be >= 1, got 0"),
        ({"render_mode": "human"}, "`render_mode` must be one of None, 'rgb_array', got 'human'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiGoalMaze(**arguments)


@pytest.mark.parametrize(
    "options",
    [
        {"position": (5, 0)},
        {"position": (90, 0)},
        {"position": (0, math.nan)},
        {"position": (0, 0, 0)},
        {"position": (2, 2), "obstacles": True},
        {"x": 1},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must (be \(x, y\) in a free cell|have no keys other)"):
        MultiGoalMaze().reset(options=options)
    if "obstacles" in options:
        MultiGoalMaze().reset(options={"position": options["position"]})


def test_wrong_action_is_refused() -> None:
    env = MultiGoalMaze()
    env.reset()
    with pytest.raises(ValueError, match="`action` must be 2 finite numbers"):
        env.step(np.zeros(3, np.float32))


@pytest.mark.parametrize("agent", ["point", "ant"])
def test_checkers_accept_it(agent: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if agent == "ant":  # whose joints have no limit of speed
            warnings.filterwarnings("ignore", message=".*Box observation space (mini|maxi)mum value is -?infinity.*")
        check_env(gym.make(ENV_ID, agent=agent, render_mode="rgb_array").unwrapped)
        sb3_check_env(gym.make(ENV_ID, agent=agent))


def test_the_ant_walks_among_walls_of_four_meters() -> None:
    env = MultiGoalMaze("hard", "ant", reward="dense")
    assert env.reset()[0].shape == (29,) and env.action_space.shape == (8,)
    env.action_space.seed(0)
    for _ in range(20):
        obs, *_ = env.step(env.action_space.sample())
    np.testing.assert_allclose(obs[:2], 4 * np.array(env.simulation.position()), rtol=1e-6)
    goal = env.maze.center(env.maze.goals[3])
    obs, _ = env.reset(options={"position": goal})
    np.testing.assert_allclose(obs[:3], [4 * goal[0], 4 * goal[1], 0.75])
    assert env.step(np.zeros(8, np.float32))[4]["goal"] == 3


def test_vectorized() -> None:
    """Environments are independent, and start again by themselves, in both kinds of vector environments."""
    vec_env = make_vec_env(ENV_ID, 8, seed=0, env_kwargs={"maze": "simple", "max_steps": 5})
    vec_env.reset()
    for step in range(1, 11):
        *_, dones, infos = vec_env.step(np.ones((8, 2), np.float32))
        assert dones.tolist() == [step % 5 == 0] * 8
        assert [info["goal"] for info in infos] == [-1] * 8
        assert all(info["TimeLimit.truncated"] == (step % 5 == 0) for info in infos)
    envs = gym.make_vec(ENV_ID, 3, vectorization_mode="sync", maze="medium")
    obs, _ = envs.reset(seed=0)
    obs, *_ = envs.step(np.array([[1, 0], [0, 1], [0, 0]], np.float32))
    assert obs.shape == (3, 4) and obs[0, 0] > 0 == obs[1, 0] and obs[1, 1] > 0 == obs[2, 1]
    envs.close()


def test_images_show_the_last_episodes() -> None:
    env = MultiGoalMaze(trails=2, render_mode="rgb_array")
    assert MultiGoalMaze().render() is None
    images = []
    for direction in ((1, 0), (-1, 0), (0, 1)):
        walk(env, push(direction, 60))
        images.append(env.render())
    first, second, third = images
    assert first is not None and second is not None and third is not None
    assert first.shape == (264, 264, 3) and first.dtype == np.uint8
    gray, left, right = np.array([140, 140, 140]), (132, 90), (132, 174)
    assert (first[right] == gray).all() and not (first[left] == gray).all()
    assert (second[right] == gray).all() and (second[left] == gray).all()
    assert (third[left] == gray).all() and not (third[right] == gray).all(), "the oldest path has gone"


def test_pickles() -> None:
    env = gym.make(f"ardae_envs:{ENV_ID}", maze="medium", reward="dense")
    copy: Any = pickle.loads(pickle.dumps(env)).unwrapped
    assert copy.dense and copy.maze.max_steps == 300
