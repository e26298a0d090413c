"""Are SACARDAE's entropies accurate? Its estimates against two references, at states that trained policies visit.

Policies are trained as by ``ardae-rl benchmark``, in segments from which an interrupted run resumes. With the option
``folder``, they are those of such a benchmark. States are drawn from stochastic episodes. The references are those of
:mod:`experiments.entropy_truth`: an estimate from the third neighbors of 4000 actions, and for a policy with output
noise the midpoint of bounds by a mixture of 4096 components. Errors are relative to the better one.

The options ``arguments`` (a mapping in YAML) and ``variant`` (the name of its runs) are as in the experiment
``closed_loop``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl import SACARDAE
from ardae_rl.grid.grid import finished_runs
from ardae_rl.grid.suites import grid
from ardae_rl.grid.training import train
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.common import variant_arguments
from experiments.entropy_truth import Entropies, neighbor_bias, policy_entropies
from experiments.figure import Figure, needed

N_STEPS = {"Hopper-v5": 30_000, "HalfCheetah-v5": 30_000, "Walker2d-v5": 30_000, "Humanoid-v5": 10_000}
_EVALUATE = {"eval_freq": 5000, "eval_episodes": 3}
KEY = ("env", "algo", "seed", "steps")
BUDGETS = {
    "smoke": {"states": 2, "samples": 50, "components": 60},
    "quick": {"states": 100, "samples": 4000, "components": 4096},
}


def runs(
    budget: str,
    n_seeds: int,
    *,
    envs: tuple[str, ...] = tuple(N_STEPS),
    variant: str = "default",
    arguments: str = "{}",
    folder: str = "",
) -> list[dict[str, Any]]:
    """Return one run per model, with the training that it needs, or the file of a model in ``folder``."""
    given = variant_arguments(variant, arguments)
    if folder:
        models = _finished(Path(folder), n_seeds)
    else:
        trainings = _smoke_training() if budget == "smoke" else _trainings(envs, n_seeds)
        if variant != "default":
            for training in trainings:
                training |= {
                    "name": f"{training['env']} {variant} {training['seed']}",
                    "algo": f"sac_ardae-{variant}",
                    "arguments": training["arguments"] | given,
                }
        models = [{"needs": training} | {name: training[name] for name in KEY} for training in trainings]
    return [
        {"name": f"entropies of {model['env']} {model['algo']} {model['seed']}"} | model | BUDGETS[budget]
        for model in models
    ]


def _smoke_training() -> list[dict[str, Any]]:
    return grid(["Pendulum-v1"], ["sac_ardae"], n_seeds=1, steps=20, eval_freq=20, eval_episodes=1)


def _trainings(envs: Sequence[str], n_seeds: int) -> list[dict[str, Any]]:
    """Return settings of the trainings, seed by seed."""
    trainings = [
        training
        for env in envs
        for training in grid([env], ["sac_ardae"], n_seeds, N_STEPS.get(env, 30_000), **_EVALUATE)
    ]
    return sorted(trainings, key=lambda training: training["seed"])


def _finished(folder: Path, n_seeds: int) -> list[dict[str, Any]]:
    """Return the models of SACARDAE in a folder of ``ardae-rl benchmark``."""
    found = [
        {"model": str((path / "model.zip").resolve())} | {name: settings[name] for name in KEY}
        for settings, path in finished_runs(folder)
        if settings["algorithm"] == "sac_ardae" and settings["seed"] < n_seeds and (path / "model.zip").exists()
    ]
    if not found:
        raise ValueError(f"`folder` must have models of sac_ardae, made by `ardae-rl benchmark`, got {str(folder)!r}")
    return found


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Train a model, or resume its training."""
    train(settings, run)


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


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Compare the entropies of one model."""
    path = needed(run.folder, settings) / "model.zip" if "needs" in settings else settings["model"]
    model = SACARDAE.load(path, device="cpu", buffer_size=1)
    th.manual_seed(0)
    states = visited(model, settings["env"], settings["states"], 10_000 + settings["seed"])
    measured = policy_entropies(model, states, settings["samples"], settings["components"])
    dim = model.policy.actor.action_dim
    figures = comparison(measured) | {"neighbor_bias": neighbor_bias(settings["samples"], dim)}
    figures["log_prob_offset"] = float(model.policy.log_prob_offset)
    key = {name: settings[name] for name in (*KEY, "states", "samples", "components")}
    rounded = {name: "" if np.isnan(value) else round(float(value), 4) for name, value in figures.items()}
    return [key | {"truth": "mixture" if measured.mixture_is_better else "neighbors"} | rounded]


def comparison(measured: Entropies) -> dict[str, float]:
    """Return the estimate's errors, and the differences between the two references."""
    error = measured.estimated - measured.truth
    difference = measured.neighbors - measured.middle
    return {
        "estimated": measured.estimated.mean(),
        "true": measured.truth.mean(),
        "mean_error": error.mean(),
        "rms_error": np.sqrt(np.square(error).mean()),
        "std_over_states": measured.truth.std(),
        "error_to_neighbors": (measured.estimated - measured.neighbors).mean(),
        "error_to_mixture": (measured.estimated - measured.middle).mean(),
        "mixture_gap": (measured.upper - measured.lower).mean(),
        "neighbors_minus_mixture": difference.mean(),
        "neighbors_minus_mixture_rms": np.sqrt(np.square(difference).mean()),
        "states_outside_bounds": _share_outside(measured.estimated, measured),
        "neighbors_outside_bounds": _share_outside(measured.neighbors, measured),
    }


def _share_outside(entropy: NDArray[np.float64], measured: Entropies) -> float:
    """Return the share of states whose entropy is not between the bounds."""
    if np.isnan(measured.lower).any():
        return np.nan
    return float(((entropy < measured.lower) | (entropy > measured.upper)).mean())


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=(*KEY, "true", "truth", "mean_error", "rms_error", "mixture_gap", "neighbors_minus_mixture"),
    seeds={"smoke": 1, "quick": 3},
    prepare=prepare,
    key=KEY,
)
