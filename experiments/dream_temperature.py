"""Controllers that learnt in dreams of several temperatures, in their dreams and in the game (World Models, Table 2).

    python -m experiments.dream_temperature [--temperatures 0.5,1.0,1.15,1.3] [--folder runs/take_cover]

Data, vision and memory are those of ``ardae-rl world-model memory --env ardae/TakeCover-v0``, made if missing;
each controller is then evolved in its dream alone, for the generations that zoo_configs/world_models.yml says, and its
mean survival measured over episodes of that dream and of the game. What policies that know nothing reach is in
results/take_cover.csv. An interrupted run goes on. Written to results/dream_temperature.csv.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from ardae_rl.evaluation import bootstrap_interval, evaluate
from ardae_rl.presets import constructor_arguments, overridden
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import print_table, versions, write_csv
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.search_stage import dream_starts, make_dream_evaluator
from experiments.common import RESULTS, RUNS

ENV = "ardae/TakeCover-v0"
_LONGEST = 2100
_SEED = 10_000  # of the first episode of an evaluation


def dreamt(model: WorldModels, temperature: float, episodes: int) -> dict[str, Any]:
    """Evolve a controller in the dream of a temperature; how long it survives there."""
    run = Run(model.folder / f"temperature_{temperature:g}")
    stage = replace(model.search_stage, temperature=temperature)
    done_factor = model.memory_stage.done_factor
    dream = Dream(model.policy, dream_starts(model.latents()), temperature, done_factor=done_factor)
    model.policy.controller_parameters.data.zero_()
    with make_dream_evaluator(dream, _LONGEST, model.n_workers) as evaluator:
        evolution = stage(model.policy, evaluator, run, seed=model.seed or 0)
        parameters = model.policy.controller_parameters.detach().numpy().astype(np.float64)
        lengths = evaluator.evaluate(parameters[None], range(_SEED, _SEED + episodes)).lengths[0]
    settings = {"generations": stage.n_generations, "population": stage.population_size}
    settings |= {"dream_steps": int(evolution.rows[-1]["n_steps"]), "episodes": episodes, "seed": model.seed or 0}
    return {"dream_mean": float(lengths.mean()), "dream_std": float(lengths.std())} | settings


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temperatures", default="0.5,1.0,1.15,1.3")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="as of ardae-rl world-model")
    parser.add_argument("--folder", type=Path, default=RUNS / "take_cover")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    th.set_num_threads(1)
    arguments, _ = constructor_arguments("world_models", ENV)
    arguments = overridden(arguments, options.set or [])
    model = WorldModels(env=ENV, folder=options.folder, seed=options.seed, verbose=1, **arguments)
    model.collect()
    model.train_vision()
    model.train_memory()
    rows = []
    for temperature in map(float, options.temperatures.split(",")):
        row = dreamt(model, temperature, options.episodes)
        real = evaluate(model, ENV, options.episodes, _SEED, n_envs=4 * model.n_workers or 1)
        low, high = bootstrap_interval(real.returns)
        figures = {"real_mean": real.mean_return, "real_std": real.std_return, "real_low": low, "real_high": high}
        figures = {name: round(row.pop(name), 1) for name in ("dream_mean", "dream_std")} | {
            name: round(value, 1) for name, value in figures.items()
        }
        rows.append({"env": ENV, "temperature": temperature} | figures | row | versions())
        write_csv(options.out / "dream_temperature.csv", rows)
    shown = ("temperature", "dream_mean", "dream_std", "real_mean", "real_std", "real_low", "real_high")
    print_table([{name: row[name] for name in shown} for row in rows], ENV)


if __name__ == "__main__":
    main()
