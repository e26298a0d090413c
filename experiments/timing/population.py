"""Environment steps per second of a population of controllers, as a multiple of the straightforward loop.

The loop is that of public World Models code: one official environment after another, and for each frame the whole
autoencoder (decoder included) and one step of memory and controller, for this environment alone. Ours steps several
environments with the fast renderer at the same time, encodes their frames in one batch, and leaves out the decoder.
Networks have the paper's sizes and random weights; those of the controllers are small, so that the cars drive about.
Resets are included. The cases take turns, so that a change of the machine's speed affects all of them equally. Rates
are medians over rounds.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray

import ardae_envs  # noqa: F401 (registers our environments)
from ardae_rl.common.checks import check_count
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.world_models.evolution import Evaluator, RayEvaluator
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.search_stage import make_evaluator
from experiments.figure import Figure
from experiments.timing.rates import median_rates

Population = NDArray[np.float64]
BUDGETS = {
    "smoke": {"rounds": 1, "episodes": 2, "steps": 3, "n_envs": 2},
    "quick": {"rounds": 5, "episodes": 16, "steps": 50, "n_envs": 16},
}


def runs(budget: str, n_seeds: int, *, workers: int = 2, ray: bool = False) -> list[dict[str, Any]]:
    check_count("workers", workers)
    return [{"name": "population", "workers": workers, "ray": ray} | BUDGETS[budget]]


def make_policy() -> WorldModelPolicy:
    th.manual_seed(0)
    env = gym.make("CarRacing-v3")
    return WorldModelPolicy(env.observation_space, env.action_space)


def make_env(env_id: str, steps: int) -> gym.Env[Any, Any]:
    return gym.make(env_id, max_episode_steps=steps)


def straightforward(policy: WorldModelPolicy, env: gym.Env[Any, Any], population: Population) -> int:
    """Play one episode with each candidate, and return the number of steps."""
    n_steps = 0
    for seed, parameters in enumerate(th.as_tensor(population, dtype=th.float32)):
        observation, _ = env.reset(seed=seed)
        memory, over = policy.memory.initial_state(1), False
        while not over:
            with th.no_grad():
                z = policy.latents(observation[None])
                policy.vision.decode(z)
                action = policy.control(parameters, policy.features(z, memory))
                memory = policy.remember(z, action, memory)
            observation, _, terminated, truncated, _ = env.step(action[0])
            over, n_steps = terminated or truncated, n_steps + 1
    return n_steps


def _batched(evaluator: Evaluator, population: Population) -> int:
    """Play one episode with each candidate, and return the number of steps."""
    return int(evaluator.play(population, np.arange(len(population))).lengths.sum())


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Time the loop, and ours in this process, with worker processes, and with as many Ray actors if asked for."""
    steps, n_envs, workers, n_rounds = (settings[name] for name in ("steps", "n_envs", "workers", "rounds"))
    th.set_num_threads(1)
    policy = make_policy()
    population = np.random.default_rng(0).normal(0, 0.1, (settings["episodes"], policy.n_parameters))
    fast = partial(make_env, "ardae/CarRacingFast-v0", steps)
    with ExitStack() as stack:
        make = partial(make_evaluator, policy, fast, n_envs, patience=None)
        evaluators: dict[str, Callable[[], Evaluator]] = {
            "batched": make,
            f"batched, {workers} processes": partial(make, n_workers=workers),
        }
        if settings["ray"]:
            evaluators[f"batched, {workers} Ray actors"] = partial(RayEvaluator, make, workers)
        cases: dict[str, Callable[[], int]] = {
            "straightforward": partial(straightforward, policy, make_env("CarRacing-v3", steps), population)
        }
        for name, start in evaluators.items():
            cases[name] = partial(_batched, stack.enter_context(start()), population)
        rates = median_rates(cases, n_rounds, run)
    key = {"rounds": n_rounds, "episodes": settings["episodes"], "steps": steps, "n-envs": n_envs}
    return [
        {"case": name, "steps_per_second": f"{rate:.1f}", "ratio": f"{rate / rates['straightforward']:.2f}"} | key
        for name, rate in rates.items()
    ]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("case", "steps_per_second", "ratio"),
    seeds={"smoke": 0, "quick": 0},
    key=("case", "rounds", "episodes", "steps", "n-envs"),
    timed=True,
)
