"""Draw one image of each environment into docs/images: ``python docs/draw_environments.py``."""

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image

import ardae_envs  # noqa: F401

FOLDER = Path(__file__).parent / "images"
HEIGHT = 320
# Arguments, and number of random steps before the image
ENVIRONMENTS: dict[str, tuple[dict[str, Any], int]] = {
    "ardae/MultiGoal-v0": ({}, 12),
    "ardae/MultiGoalMaze-v0": ({"trails": 30}, 3000),
    "ardae/CarRacingFast-v0": ({}, 60),
    "ardae/CarRacingRandomStart-v0": ({}, 60),
    "ardae/CarRacingLowRes-v0": ({}, 60),
    "ardae/PlanarObstacles-v0": ({}, 3),
    "ardae/PendulumPixels-v0": ({}, 6),
    "ardae/CartPolePixels-v0": ({}, 3),
    "ardae/TakeCover-v0": ({}, 60),
    "ardae/HumanoidRllab-v0": ({}, 10),
}


def image(env_id: str, kwargs: dict[str, Any], n_steps: int) -> np.ndarray[Any, Any]:
    """Return what the environment shows after some random steps, at least 320 pixels high."""
    env = gym.make(env_id, render_mode="rgb_array", **kwargs)
    env.action_space.seed(0)
    env.reset(seed=0)
    action = env.action_space.sample()
    for step in range(n_steps):
        if step % 25 == 0 or "Maze" not in env_id:  # held, or the point would stay at the start
            action = env.action_space.sample()
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    frame: Any = env.render()
    env.close()
    return np.asarray(frame)


def main() -> None:
    """Draw those that are installed, and say which are not."""
    FOLDER.mkdir(exist_ok=True)
    for env_id, (kwargs, n_steps) in ENVIRONMENTS.items():
        try:
            frame = Image.fromarray(image(env_id, kwargs, n_steps))
        except Exception as error:
            print(f"{env_id}: {error}", file=sys.stderr)
            continue
        width = round(frame.width * HEIGHT / frame.height)
        small = frame.height < HEIGHT  # pixels of tasks on pixels stay visible
        frame = frame.resize((width, HEIGHT), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
        path = FOLDER / f"{env_id.split('/')[1].split('-')[0]}.png"
        frame.convert("RGB").quantize(128).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
