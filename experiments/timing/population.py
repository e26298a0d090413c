"""Environment steps per second of a population of controllers, as a multiple of the straightforward loop.

    python -m experiments.timing.population [--rounds 5] [--episodes 16] [--steps 50] [--n-envs 16] [--workers 2]

The loop is what public World Models code does: one official environment after another, and for each frame the whole
autoencoder (decoder too) and one step of memory and controller, for this environment alone. Ours steps environments
with the fast renderer side by side, encodes their frames in one batch, and leaves the decoder out. Random weights of
the paper's sizes; controllers with small random weights, which drive about; resets count. The cases take turns, so that
a change of the machine's speed meets all alike. Written to results/population.csv: medians over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from rich.progress import track

import ardae_envs  # noqa: F401 (registers our environments)
from ardae_rl.runs.tables import print_table, versions, write_csv
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.search_stage import make_evaluator
from experiments.common import RESULTS

Population = NDArray[np.float64]


def make_policy() -> WorldModelPolicy:
    th.manual_seed(0)
    env = gym.make("CarRacing-v3")
    return WorldModelPolicy(env.observation_space, env.action_space)


def make_env(env_id: str, steps: int) -> gym.Env[Any, Any]:
    return gym.make(env_id, max_episode_steps=steps)


def straightforward(policy: WorldModelPolicy, env: gym.Env[Any, Any], population: Population) -> int:
    """One episode of each candidate; the steps made."""
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"rounds": 5, "episodes": 16, "steps": 50, "n-envs": 16, "workers": 2}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    for name in defaults:
        if getattr(options, name.replace("-", "_")) < 1:
            parser.error(f"--{name}: at least 1")
    th.set_num_threads(1)
    policy = make_policy()
    population = np.random.default_rng(0).normal(0, 0.1, (options.episodes, policy.n_parameters))
    fast = partial(make_env, "ardae/CarRacingFast-v0", options.steps)
    with (
        make_evaluator(policy, fast, options.n_envs, patience=None) as batched,
        make_evaluator(policy, fast, options.n_envs, options.workers, patience=None) as processes,
    ):
        official = make_env("CarRacing-v3", options.steps)
        cases: dict[str, Callable[[], int]] = {
            "straightforward": lambda: straightforward(policy, official, population),
            "batched": lambda: int(batched.play(population, np.arange(len(population))).lengths.sum()),
            f"batched, {options.workers} processes": lambda: int(
                processes.play(population, np.arange(len(population))).lengths.sum()
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in track(range(options.rounds), description="rounds"):
            for name, run in cases.items():
                start = time.perf_counter()
                n = run()
                rates[name].append(n / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    settings = {name: getattr(options, name.replace("-", "_")) for name in ("rounds", "episodes", "steps", "n-envs")}
    rows = [
        {"case": name, "steps_per_second": f"{rate:.1f}", "ratio": f"{rate / medians['straightforward']:.2f}"}
        | settings
        | versions()
        for name, rate in medians.items()
    ]
    write_csv(options.out / "population.csv", rows)
    print_table([{k: row[k] for k in ("case", "steps_per_second", "ratio")} for row in rows], "Population")


if __name__ == "__main__":
    main()
