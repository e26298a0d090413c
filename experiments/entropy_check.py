"""Whether SACARDAE's entropies are true: its estimate beside a nearest-neighbour one, at states of trained policies.

    python -m experiments.entropy_check [--runs experiments/results/grid] [--states 100] [--samples 4000]

For each run of `ardae-rl benchmark` whose model.zip is there, states are drawn from stochastic episodes of its policy.
The entropy of the actions in [-1, 1] is that of 4000 actions before tanh by their nearest neighbours (Kozachenko and
Leonenko 1987, the third ones), plus the mean of ln(1 - tanh²). Written to results/entropy_check.csv, a row for each
run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from ardae_rl import SACARDAE
from ardae_rl.common.squashed import log_half_range, log_tanh_slope
from ardae_rl.grid.grid import finished_runs
from ardae_rl.runs.tables import merge_csv, print_table, versions
from experiments.common import RESULTS

_NEIGHBOUR = 3


def neighbour_entropy(x: NDArray[np.float64]) -> float:
    """Of a density in R^d, from samples (n, d), in coordinates in which their covariance is the identity."""
    n, dim = x.shape
    factor = np.linalg.cholesky(np.cov(x.T).reshape(dim, dim))
    z = np.linalg.solve(factor, x.T).T
    distances = cKDTree(z).query(z, _NEIGHBOUR + 1)[0][:, -1]
    log_ball = 0.5 * dim * np.log(np.pi) - gammaln(0.5 * dim + 1)
    local = digamma(n) - digamma(_NEIGHBOUR) + log_ball + dim * np.log(distances).mean()
    return float(local + np.log(np.diagonal(factor)).sum())


def visited(model: SACARDAE, env_id: str, n: int, seed: int) -> NDArray[Any]:
    """Every tenth state of stochastic episodes, (n, ...)."""
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
    """Estimated and nearest-neighbour entropies of the actions in [-1, 1], (n) each."""
    estimated, measured = [], []
    policy, space = model.policy, model.policy.actor.action_space
    for state in states:
        obs, _ = policy.obs_to_tensor(state)
        embedding = policy.encode_states(obs).embedding
        before = policy.actor.generate(embedding, policy.actor.sample_noise(embedding, n_samples))[0]
        slope = float(log_tanh_slope(before).mean())
        measured.append(neighbour_entropy(before.double().numpy()) + slope)
        per_unit = policy.entropy(obs, n_samples) - log_half_range(space, policy.device)
        estimated.append(float(per_unit))
    return np.array(estimated), np.array(measured)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RESULTS / "benchmark")
    parser.add_argument("--states", type=int, default=100)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    rows = []
    for settings, folder in finished_runs(options.runs):
        if settings["algorithm"] != "sac_ardae" or not (folder / "model.zip").exists():
            continue
        model = SACARDAE.load(folder / "model.zip", device="cpu", buffer_size=1)
        th.manual_seed(0)
        states = visited(model, settings["env"], options.states, 10_000 + settings["seed"])
        estimated, measured = entropies(model, states, options.samples)
        figures = {
            "estimated": estimated.mean(),
            "measured": measured.mean(),
            "mean_error": (estimated - measured).mean(),
            "rms_error": np.sqrt(((estimated - measured) ** 2).mean()),
            "std_over_states": measured.std(),
        }
        settled = {name: settings[name] for name in ("env", "algo", "seed", "steps")}
        rounded = {name: round(float(value), 4) for name, value in figures.items()}
        rows.append(settled | {"states": options.states, "samples": options.samples} | rounded | versions())
    if not rows:
        raise SystemExit(f"--runs {options.runs}: no model.zip of sac_ardae there; `ardae-rl benchmark` makes them")
    merge_csv(options.out / "entropy_check.csv", rows, ("env", "algo", "seed", "steps"))
    print_table([{k: v for k, v in row.items() if k not in versions()} for row in rows], "entropies")


if __name__ == "__main__":
    main()
