"""DVBF as an agent: planning in the filter's model on the unmodified Pendulum-v1.

    python -m experiments.dvbf_control [--planners cem,mppi] [--posteriors noise] [--seeds 3] [--jobs 2]

After 20,000 environment steps, in rounds of collecting and fitting, 20 episodes are played with seeds that training has
not seen. Written to results/dvbf_control.csv, a row for each run; an interrupted command goes on.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ardae_rl.dvbf import DVBF
from ardae_rl.dvbf.policies import POSTERIORS
from ardae_rl.evaluation import evaluate
from ardae_rl.planning.policy import PLANNERS
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import versions, write_csv
from experiments.common import RESULTS, check_names, run_folder, table_of_runs

ENV = "Pendulum-v1"
_FIRST_SEED, _EPISODES = 10_000, 20
folder = partial(run_folder, "dvbf_control")


def run(settings: dict[str, Any], run: Run) -> str:
    start = time.monotonic()
    kwargs = {"posterior": settings["posterior"], "planner": settings["planner"], "smoothing": False}
    model = DVBF(
        "MlpPolicy", ENV, seed=settings["seed"], device="cpu", policy_kwargs=kwargs | {"seed": settings["seed"]}
    )
    model.learn(settings["steps"])
    model.save(run.folder / "model")
    trained = time.monotonic() - start
    result = evaluate(model, ENV, _EPISODES, _FIRST_SEED)
    low, high = result.interval
    figures = {"return": result.mean_return, "low": low, "high": high, "std": result.std_return}
    times = {"training_seconds": round(trained), "evaluation_seconds": round(time.monotonic() - start - trained)}
    settled = {name: settings[name] for name in ("posterior", "planner", "seed", "steps")}
    rounded = {name: round(value, 2) for name, value in figures.items()}
    write_csv(run.folder / "row.csv", [settled | rounded | times | versions()])
    return f"{settings['name']}: {result.mean_return:.1f} [{low:.1f}, {high:.1f}]"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planners", default="cem,mppi")
    parser.add_argument("--posteriors", default="noise")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    planners = check_names(parser, "--planners", options.planners, PLANNERS)
    posteriors = check_names(parser, "--posteriors", options.posteriors, POSTERIORS)
    runs: list[dict[str, Any]] = [
        {
            "name": f"{posterior} {planner} {seed}",
            "posterior": posterior,
            "planner": planner,
            "seed": seed,
            "steps": options.steps,
        }
        for seed in range(options.seeds)
        for posterior in posteriors
        for planner in planners
    ]
    key = ("posterior", "planner", "seed", "steps")
    shown = ("posterior", "planner", "seed", "return", "low", "high", "training_seconds")
    table_of_runs(run, folder, runs, options.jobs, options.out / "dvbf_control.csv", key, shown)


if __name__ == "__main__":
    main()
