"""Gymnasium environments of ardae-rl; importing this module registers them under `ardae/`.

    import gymnasium, ardae_envs
    env = gymnasium.make("ardae/MultiGoal-v0")

`gymnasium.make("ardae_envs:ardae/MultiGoal-v0")` does both at once.
"""

from typing import Any

import gymnasium

# Entry points are strings, so importing this module stays cheap and needs no extra: an environment's
# own dependencies are imported when it is made. A change of dynamics or reward bumps -vN.
_SPECS: tuple[dict[str, Any], ...] = (
    {
        "id": "ardae/MultiGoal-v0",
        "entry_point": "ardae_envs.multi_goal:MultiGoalEnv",
        # Going straight to a goal takes 4 to 10 steps; 30 lets a random walk get there too.
        "max_episode_steps": 30,
    },
    {
        "id": "ardae/CarRacingFast-v0",
        "entry_point": "ardae_envs.car_racing_fast:CarRacingFast",
        "max_episode_steps": 1000,
        "reward_threshold": 900,
    },
)


def _register_missing() -> None:
    """Register what the registry lacks: Gymnasium warns when an id is registered twice."""
    for spec in _SPECS:
        if spec["id"] not in gymnasium.registry:
            gymnasium.register(**spec)


_register_missing()
