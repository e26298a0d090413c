"""Returns of untrained policies in DoomTakeCover: the reference for agents.

`ardae/TakeCover-v0` with at most 2100 steps per episode, one action per step, episodes with seeds 0, 1, ... A return is
the number of steps survived.
"""

from typing import Any

import gymnasium as gym
import numpy as np

import ardae_envs  # noqa: F401 (registers the environment)
from ardae_envs.collection import Hold, StickyRandom
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure

ENV = "ardae/TakeCover-v0"
POLICIES: dict[str, Any] = {
    "uniform": lambda space: StickyRandom(space, stickiness=0.0, seed=0),
    "held 1 to 10 steps": lambda space: Hold(space, 1, 10, seed=0),
    "no action": lambda space: None,
}
BUDGETS = {"smoke": {"episodes": 1}, "quick": {"episodes": 60}}


def runs(budget: str, n_seeds: int) -> list[dict[str, Any]]:
    return [{"name": policy, "policy": policy} | BUDGETS[budget] for policy in POLICIES]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Play the episodes of one policy."""
    env = gym.make(ENV)
    lengths = episode_lengths(env, POLICIES[settings["policy"]](env.action_space), settings["episodes"], run)
    env.close()
    figures = {"mean_return": np.mean(lengths), "std_return": np.std(lengths), "median_return": np.median(lengths)}
    rounded = {name: round(float(value), 1) for name, value in figures.items()}
    return [{"env": ENV, "policy": settings["policy"], "episodes": settings["episodes"]} | rounded]


def episode_lengths(env: gym.Env[Any, Any], policy: Any, episodes: int, run: Run) -> list[int]:
    """Return the number of steps of each episode; the policy None always takes action 1, which does nothing."""
    lengths = []
    for seed in range(episodes):
        frame, _ = env.reset(seed=seed)
        state, steps, over = None, 0, False
        while not over:
            action = np.ones(1, np.int64)
            if policy is not None:
                action, state = policy.predict(frame[None], state)
            frame, _, terminated, truncated, _ = env.step(action[0])
            steps, over = steps + 1, terminated or truncated
        lengths.append(steps)
        run.report(seed + 1, episodes)
    return lengths


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("policy", "episodes", "mean_return", "std_return", "median_return"),
    seeds={"smoke": 0, "quick": 0},
    key=("env", "policy", "episodes"),
)
