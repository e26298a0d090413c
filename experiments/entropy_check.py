"""Are SACARDAE's entropies true? Its estimate beside a nearest-neighbor one, at states of trained policies.

For each run of `ardae-rl benchmark` that has a model.zip, states are drawn from stochastic episodes of its policy. The
entropy of the actions in [-1, 1] is that of 4000 actions before tanh by their nearest neighbors (Kozachenko and
Leonenko 1987, the third neighbors), plus the mean of ln(1 - tanh²).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl import SACARDAE
from ardae_rl.common.squashed import log_half_range, log_tanh_slope
from ardae_rl.grid.grid import finished_runs
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.entropy_truth import neighbor_entropy
from experiments.figure import Figure, needed

KEY = ("env", "algo", "seed", "steps")
BUDGETS = {"smoke": {"states": 2, "samples": 50}, "quick": {"states": 100, "samples": 4000}}


def runs(budget: str, n_seeds: int, *, folder: str = "experiments/results/grid") -> list[dict[str, Any]]:
    """Return one run per model; the smallest budget trains one itself."""
    if budget == "smoke":
        training = {"name": "training", "env": "Pendulum-v1", "algo": "sac_ardae", "seed": 0, "steps": 110}
        return [training | {"name": "model", "needs": training} | BUDGETS[budget]]
    found = [
        {"name": path.name, "model": str((path / "model.zip").resolve())} | {name: settings[name] for name in KEY}
        for settings, path in finished_runs(Path(folder))
        if settings["algorithm"] == "sac_ardae" and settings["seed"] < n_seeds and (path / "model.zip").exists()
    ]
    if not found:
        raise ValueError(f"`folder` must have models of sac_ardae, made by `ardae-rl benchmark`, got {folder!r}")
    return [settings | {"name": f"{settings['env']} {settings['name']}"} | BUDGETS[budget] for settings in found]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Train a small model."""
    model = SACARDAE("MlpPolicy", settings["env"], seed=settings["seed"], device="cpu")
    model.learn(settings["steps"])
    model.save(run.folder / "model.zip")


def visited(model: SACARDAE, env_id: str, n: int, seed: int) -> NDArray[Any]:
    """Return every tenth state of stochastic episodes, (n, ...)."""
    env = gym.make(env_id)
    states: list[Any] = []
    observation, _ = env.reset(seed=seed)
    for t in range(10 * n):
        if t % 10 == 0:
            states.append(observation)
        observation, _, terminated, truncated, _ = env.step(model.predict(observation)[0])
        if terminated or truncated:
            observation, _ = env.reset()
    return np.stack(states)


@th.no_grad()
def entropies(model: SACARDAE, states: NDArray[Any], n_samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return estimated and nearest-neighbor entropies of the actions in [-1, 1], (n,) each."""
    estimated, measured = [], []
    policy, space = model.policy, model.policy.actor.action_space
    for state in states:
        obs, _ = policy.obs_to_tensor(state)
        embedding = policy.encode_states(obs).embedding
        before = policy.actor.generate(embedding, policy.actor.sample_noise(embedding, n_samples))[0]
        slope = float(log_tanh_slope(before).mean())
        measured.append(neighbor_entropy(before.double().numpy()) + slope)
        per_unit = policy.entropy(obs, n_samples) - log_half_range(space, policy.device)
        estimated.append(float(per_unit))
    return np.array(estimated), np.array(measured)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Compare the entropies of one model."""
    path = needed(run.folder, settings) / "model.zip" if "needs" in settings else settings["model"]
    model = SACARDAE.load(path, device="cpu", buffer_size=1)
    th.manual_seed(0)
    states = visited(model, settings["env"], settings["states"], 10_000 + settings["seed"])
    estimated, measured = entropies(model, states, settings["samples"])
    figures = {
        "estimated": estimated.mean(),
        "measured": measured.mean(),
        "mean_error": (estimated - measured).mean(),
        "rms_error": np.sqrt(((estimated - measured) ** 2).mean()),
        "std_over_states": measured.std(),
    }
    key = {name: settings[name] for name in (*KEY, "states", "samples")}
    return [key | {name: round(float(value), 4) for name, value in figures.items()}]


def summary(rows: Sequence[dict[str, str]]) -> list[Row]:
    shown = (*KEY, "estimated", "measured", "mean_error", "rms_error", "std_over_states")
    return [{name: row[name] for name in shown} for row in rows]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=summary,
    draw=None,
    seeds={"smoke": 1, "quick": 5},
    prepare=prepare,
    key=KEY,
)
