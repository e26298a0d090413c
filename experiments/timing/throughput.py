"""Environment steps per second of `learn()`, compared with Stable-Baselines3's SAC.

Everything is included: the simulator, acting, the replay buffer, one gradient step per environment step (batch size
256, one thread, hidden layers of 256 units). The algorithms take turns in one process, so that a change of the
machine's speed affects all of them equally. Rates are medians over rounds.
"""

from functools import partial
from typing import Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.registry import environment_id
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.common import make_model
from experiments.figure import Figure
from experiments.timing.rates import median_rates

CASES: dict[str, dict[str, Any]] = {
    "SB3 SAC": {"algo": "sac"},
    "SACARDAE": {"algo": "sac_ardae"},
    "SACARDAE, compile": {"algo": "sac_ardae", "compile": True},
}
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"rounds": 1, "steps": 3, "warm_up": 2, "learning_starts": 10, "cases": ["SB3 SAC", "SACARDAE"]},
    "quick": {"rounds": 10, "steps": 300, "warm_up": 50, "learning_starts": 300, "cases": list(CASES)},
}


def runs(budget: str, n_seeds: int, *, env: str = "HalfCheetah-v5") -> list[dict[str, Any]]:
    return [{"name": env, "env": environment_id(env)} | BUDGETS[budget]]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Time all cases in turns."""
    th.set_num_threads(1)
    env_id, steps, n_rounds, start = (settings[name] for name in ("env", "steps", "rounds", "learning_starts"))
    models = {}
    for label in settings["cases"]:
        kwargs: dict[str, Any] = {"learning_starts": start, "policy_kwargs": {"net_arch": [256, 256]}, "seed": 0}
        kwargs |= {"batch_size": 256} | CASES[label]
        models[label] = make_model(kwargs.pop("algo"), env_id, **kwargs)
        models[label].learn(start + settings["warm_up"])  # compiles, warms up
    rates = median_rates({label: partial(_learn, model, steps) for label, model in models.items()}, n_rounds, run)
    key = {"rounds": n_rounds, "steps": steps, "threads": 1}
    return [
        {"env": env_id, "case": label, "steps_per_second": f"{rate:.2f}", "ratio": f"{rate / rates['SB3 SAC']:.4f}"}
        | key
        for label, rate in rates.items()
    ]


def _learn(model: OffPolicyAlgorithm, steps: int) -> int:
    model.learn(steps, reset_num_timesteps=False)
    return steps


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("case", "steps_per_second", "ratio"),
    seeds={"smoke": 0, "quick": 0},
    key=("env", "case", "rounds", "steps"),
    timed=True,
)
