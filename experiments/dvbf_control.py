"""DVBF as an agent on the unmodified Pendulum-v1, planning in the filter's model.

After 20,000 environment steps, in rounds of collecting and fitting, 20 episodes are played with seeds that training has
not used.
"""

import time
from typing import Any

from ardae_rl.common.checks import check_choice
from ardae_rl.dvbf import DVBF
from ardae_rl.dvbf.policies import POSTERIORS
from ardae_rl.evaluation import evaluate
from ardae_rl.planning.policy import PLANNERS
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from experiments.figure import Figure

ENV = "Pendulum-v1"
KEY = ("posterior", "planner", "seed", "steps")
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 200, "episodes": 1, "arguments": {"n_collected": 200, "gradient_steps": 2}},
    "quick": {"steps": 20_000, "episodes": 20, "arguments": {}},
}
_FIRST_SEED = 10_000


def runs(
    budget: str, n_seeds: int, *, planners: tuple[str, ...] = ("cem", "mppi"), posteriors: tuple[str, ...] = ("noise",)
) -> list[dict[str, Any]]:
    for planner in planners:
        check_choice("planners", planner, PLANNERS)
    for posterior in posteriors:
        check_choice("posteriors", posterior, POSTERIORS)
    return [
        {"name": f"{posterior} {planner} {seed}", "posterior": posterior, "planner": planner, "seed": seed}
        | BUDGETS[budget]
        for seed in range(n_seeds)
        for posterior in posteriors
        for planner in planners
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    start = time.monotonic()
    kwargs = {"posterior": settings["posterior"], "planner": settings["planner"], "smoothing": False}
    kwargs |= {"seed": settings["seed"]}
    model = DVBF("MlpPolicy", ENV, seed=settings["seed"], device="cpu", policy_kwargs=kwargs, **settings["arguments"])
    model.learn(settings["steps"])
    model.save(run.folder / "model")
    trained = time.monotonic() - start
    result = evaluate(model, ENV, settings["episodes"], _FIRST_SEED)
    low, high = result.interval
    figures = {"return": result.mean_return, "low": low, "high": high, "std": result.std_return}
    times = {"training_seconds": round(trained), "evaluation_seconds": round(time.monotonic() - start - trained)}
    rounded = {name: round(value, 2) for name, value in figures.items()}
    return [{name: settings[name] for name in KEY} | rounded | times]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("posterior", "planner", "seed", "return", "low", "high", "training_seconds"),
    seeds={"smoke": 1, "quick": 3},
    key=KEY,
)
