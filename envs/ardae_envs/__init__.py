"""Gymnasium environments of ardae-rl; importing this module registers them under `ardae/`.

    import gymnasium, ardae_envs
    env = gymnasium.make("ardae/MultiGoal-v0")

`gymnasium.make("ardae_envs:ardae/MultiGoal-v0")` does both at once.
"""

from typing import Any

import gymnasium


def _car_racing(name: str, entry_point: str) -> dict[str, Any]:
    """With the official length of an episode and threshold."""
    entry = {"id": f"ardae/CarRacing{name}-v0", "entry_point": f"ardae_envs.{entry_point}"}
    return entry | {"max_episode_steps": 1000, "reward_threshold": 900}


# Entry points are strings, so importing this module stays cheap and needs no extra: an environment's
# own dependencies are imported when it is made. A change of dynamics or reward bumps -vN.
_SPECS: tuple[dict[str, Any], ...] = (
    {
        "id": "ardae/MultiGoal-v0",
        "entry_point": "ardae_envs.multi_goal:MultiGoalEnv",
        # Going straight to a goal takes 4 to 10 steps; 30 lets a random walk get there too.
        "max_episode_steps": 30,
    },
    _car_racing("Fast", "car_racing_fast:CarRacingFast"),
    _car_racing("LowRes", "car_racing_fast:CarRacingLowRes"),
    _car_racing("RandomStart", "car_racing_random_start:make"),
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
        # A minute of the game, and the number of steps that results are given for; ViZDoom's own goes on
        "max_episode_steps": 2100,
        "reward_threshold": 750,
    },
)


def _register_missing() -> None:
    """Register what the registry lacks: Gymnasium warns when an id is registered twice."""
    for spec in _SPECS:
        if spec["id"] not in gymnasium.registry:
            gymnasium.register(**spec)


_register_missing()
