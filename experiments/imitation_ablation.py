"""Which ingredients matter for imitating HalfCheetah: the regularized GAIL with one of them removed at a time.

Each row is a run of the method "gail-regularized" of the experiment "imitation", with the arguments of the ablation
changed. The normalized return is 0 for random actions and 1 for the expert; "last_five" is its mean over the last five
evaluations during training, "minimum" the smallest of these.
"""

import time
from typing import Any

import numpy as np

from ardae_rl.common.checks import check_choice
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, read_csv
from experiments.figure import Figure, needed
from experiments.imitation import (
    BUDGETS,
    check_preset,
    checked_steps,
    expert_settings,
    learn,
    learner_env_id,
    make_learner,
    train_expert,
)

METHOD = "gail-regularized"
_REGULARIZATION = "discriminator_kwargs.regularization"
ABLATIONS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "dropout": ("reward_kwargs.dropout=0", "reward_kwargs.input_dropout=0"),
    "weight decay": ("weight_decay=0",),
    "gradient penalty": (f"{_REGULARIZATION}.gradient_penalty=0",),
    "mixup": (f"{_REGULARIZATION}.mixup=0",),
    "entropy bonus": (f"{_REGULARIZATION}.entropy_bonus=0",),
    "replayed samples": ("discriminator_kwargs.source=recent",),
    "logit as reward": ("discriminator_kwargs.reward=softplus",),
    "small network": ("reward_kwargs.hidden=[256, 256]",),
    "all regularization": (
        "reward_kwargs.dropout=0",
        "reward_kwargs.input_dropout=0",
        "weight_decay=0",
        f"{_REGULARIZATION}={{}}",
    ),
}
KEY = ("without", "env", "seed", "steps", "n_demos")


def runs(
    budget: str,
    n_seeds: int,
    *,
    env: str = "HalfCheetah-v5",
    without: tuple[str, ...] = tuple(ABLATIONS),
    steps: int | None = None,
    expert_steps: int | None = None,
    n_demos: int = 10,
) -> list[dict[str, Any]]:
    for name in without:
        check_choice("without", name, ABLATIONS)
    check_preset(METHOD, env)
    steps = checked_steps("steps", steps, budget, 100_000)
    expert = expert_settings(budget, env, expert_steps, n_demos)
    return [
        {"name": f"{env} without {name} {steps} {seed} {expert['name']}", "env": env, "without": name, "seed": seed}
        | {"steps": steps, "assignments": list(ABLATIONS[name]), "needs": expert}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for name in without
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one learner, and reduce its curve."""
    start = time.monotonic()
    env_id, expert = settings["env"], needed(run.folder, settings)
    demos, steps = expert / "demos.npz", settings["steps"]
    model = make_learner(METHOD, env_id, demos, steps, settings["seed"], settings["assignments"])
    learn(model, settings, run, learner_env_id(METHOD, env_id))
    anchors = {name: float(value) for name, value in read_csv(expert / "returns.csv")[0].items()}
    returns = np.array([float(row["return"]) for row in read_csv(run.folder / "curve.csv")])[-5:]
    normalized = (returns - anchors["random"]) / (anchors["expert"] - anchors["random"])
    settled = {name: settings[name] for name in ("without", "env", "seed", "steps")}
    figures = {"last_five": round(float(normalized.mean()), 4), "minimum": round(float(normalized.min()), 4)}
    n_demos = {"n_demos": settings["needs"]["n_demos"]}
    return [settled | n_demos | figures | {"seconds": round(time.monotonic() - start)}]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("without", "seed", "last_five", "minimum", "seconds"),
    seeds={"smoke": 1, "quick": 1},
    prepare=train_expert,
    key=KEY,
)
