"""What policies that know nothing reach in DoomTakeCover: the figure to compare agents with.

    python -m experiments.take_cover [--episodes 60]

`ardae/TakeCover-v0` with at most 2100 steps an episode, one action a step, episodes of seeds 0, 1, ...; a return is the
number of steps survived. Written to results/take_cover.csv.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.progress import track

import ardae_envs  # noqa: F401 (registers the environment)
from ardae_envs.collection import Hold, StickyRandom
from ardae_rl.runs.tables import print_table, versions, write_csv
from experiments.common import RESULTS

ENV = "ardae/TakeCover-v0"
POLICIES: dict[str, Any] = {
    "uniform": lambda space: StickyRandom(space, stickiness=0.0, seed=0),
    "held 1 to 10 steps": lambda space: Hold(space, 1, 10, seed=0),
    "no action": lambda space: None,
}


def episode_lengths(env: gym.Env[Any, Any], policy: Any, episodes: int, label: str) -> list[int]:
    lengths = []
    for seed in track(range(episodes), description=label):
        frame, _ = env.reset(seed=seed)
        state, steps, over = None, 0, False
        while not over:
            action = np.ones(1, np.int64)
            if policy is not None:
                action, state = policy.predict(frame[None], state)
            frame, _, terminated, truncated, _ = env.step(action[0])
            steps, over = steps + 1, terminated or truncated
        lengths.append(steps)
    return lengths


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    if options.episodes < 1:
        parser.error(f"--episodes {options.episodes}: at least 1")
    env = gym.make(ENV)
    rows = []
    for label, make in POLICIES.items():
        lengths = episode_lengths(env, make(env.action_space), options.episodes, label)
        figures = {"mean_return": np.mean(lengths), "std_return": np.std(lengths), "median_return": np.median(lengths)}
        row = {"env": ENV, "policy": label, "episodes": options.episodes}
        rows.append(row | {name: round(float(value), 1) for name, value in figures.items()} | versions())
    env.close()
    write_csv(options.out / "take_cover.csv", rows)
    print_table(
        [{k: row[k] for k in ("policy", "episodes", "mean_return", "std_return", "median_return")} for row in rows], ENV
    )


if __name__ == "__main__":
    main()
