"""Gymnasium environments of ardae-rl; importing this package registers them under ``ardae/``.

Example:

>>> import gymnasium
>>> import ardae_envs
>>> env = gymnasium.make("ardae/MultiGoal-v0")

``gymnasium.make("ardae_envs:ardae/MultiGoal-v0")`` imports the package and makes the environment in one step.
"""

from typing import Any

import gymnasium


def _car_racing(name: str, entry_point: str) -> dict[str, Any]:
    """Return a registry entry with the official episode length and reward threshold."""
    entry = {"id": f"ardae/CarRacing{name}-v0", "entry_point": f"ardae_envs.{entry_point}"}
    return entry | {"max_episode_steps": 1000, "reward_threshold": 900}


def _absorbing(env_id: str) -> dict[str, Any]:
    """Return a registry entry for an official environment with absorbing states."""
    kwargs = {"env_id": env_id}
    name = env_id.replace("-v", "Absorbing-v")
    return {"id": f"ardae/{name}", "entry_point": "ardae_envs.absorbing:make", "kwargs": kwargs}


# Entry points are strings, so that importing this package is cheap and needs no extra: the dependencies of an
# environment are imported when it is made. A change of dynamics or reward increments -vN.
_SPECS: tuple[dict[str, Any], ...] = (
    {
        "id": "ardae/MultiGoal-v0",
        "entry_point": "ardae_envs.multi_goal:MultiGoalEnv",
        # A straight path to a goal takes 4 to 10 steps; within 30, a random walk reaches one too
        "max_episode_steps": 30,
    },
    {
        # Each map has its own maximum number of steps
        "id": "ardae/MultiGoalMaze-v0",
        "entry_point": "ardae_envs.multi_goal_maze:MultiGoalMaze",
    },
    _absorbing("Hopper-v5"),
    _absorbing("Walker2d-v5"),
    _absorbing("Ant-v5"),
    _car_racing("Fast", "car_racing_fast:CarRacingFast"),
    _car_racing("LowRes", "car_racing_fast:CarRacingLowRes"),
    _car_racing("RandomStart", "car_racing_random_start:make"),
    {
        "id": "ardae/HumanoidRllab-v0",
        "entry_point": "ardae_envs.humanoid_rllab:HumanoidRllab",
        "max_episode_steps": 1000,
    },
    {
        "id": "ardae/PlanarObstacles-v0",
        "entry_point": "ardae_envs.planar:PlanarObstacles",
        "max_episode_steps": 40,
    },
    {
        "id": "ardae/PendulumPixels-v0",
        "entry_point": "ardae_envs.poles:PendulumPixels",
        "max_episode_steps": 100,
    },
    {
        "id": "ardae/CartPolePixels-v0",
        "entry_point": "ardae_envs.poles:CartPolePixels",
        "max_episode_steps": 50,
    },
    {
        "id": "ardae/TakeCover-v0",
        "entry_point": "ardae_envs.take_cover:TakeCover",
        # One minute of the game, the length for which results are reported; ViZDoom's own episodes are longer
        "max_episode_steps": 2100,
        "reward_threshold": 750,
    },
)


def _register_missing() -> None:
    """Register the ids that are not registered yet, because Gymnasium warns about repeated registrations."""
    for spec in _SPECS:
        if spec["id"] not in gymnasium.registry:
            gymnasium.register(**spec)


_register_missing()
