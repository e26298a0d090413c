"""What the memory is good for in CarRacing: controllers with and without it, and with memories trained in other ways.

    python -m experiments.world_model_ablation [--steps 800000] [--set memory_kwargs.n_steps=1000]

All have the same data and vision (those of ``ardae-rl world-model vision``, made if missing), memories the same
number of gradient steps, and searches the same number of environment steps. The mean of each search is evaluated on 100
tracks that no search has seen, with the fast renderer, whose frames are the official ones. An interrupted run goes on.
Written to results/world_model_ablation.csv.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th

from ardae_rl.evaluation import bootstrap_interval
from ardae_rl.presets import constructor_arguments, overridden
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import print_table, versions, write_csv
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.memory_stage import encode_frames
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.search_stage import make_evaluator
from experiments.common import RESULTS, RUNS

ENV = "CarRacing-v3"
_SEED = 10_000  # of the first track of an evaluation


class Variant(NamedTuple):
    """What a controller sees, and how the memory was trained."""

    controller_input: str
    z_loss: str | None  # None for a memory as it was initialised
    n_components: int = 5


VARIANTS = {
    "z": Variant("z", None),
    "z, h of a random memory": Variant("zh", None),
    "z, h; nll": Variant("zh", "nll"),
    "z, h; bound": Variant("zh", "bound"),
    "z, h; gaussian_kl": Variant("zh", "gaussian_kl", n_components=1),
}


def result(base: WorldModels, name: str, n_steps: int, episodes: int) -> dict[str, Any]:
    variant, seed = VARIANTS[name], base.seed or 0
    run = Run(base.folder / name.replace(", ", "_").replace("; ", "_").replace(" ", "_"))
    th.manual_seed(seed)
    arguments = {"controller_input": variant.controller_input, "n_components": variant.n_components}
    policy = WorldModelPolicy(base.observation_space, base.action_space, **((base.policy_kwargs or {}) | arguments))
    policy.vision.load_state_dict(base.policy.vision.state_dict())
    nll = float("nan")
    if variant.z_loss is not None:
        latents = encode_frames(policy, base.store(), base.folder / "latents")
        stage = replace(base.memory_stage, z_loss=variant.z_loss)
        rows = stage(policy, base.store(), latents, run, seed=seed, progress=True)
        nll = rows[-1]["validation_nll"]
    repeat, search = policy.action_repeat, base.search_stage
    make_env = partial(make_repeating, "ardae/CarRacingFast-v0", repeat)
    with make_evaluator(policy, make_env, base.n_parallel_envs, base.n_workers, search.patience) as evaluator:
        evolution = search(
            policy,
            evaluator,
            run,
            endless=True,
            seed=seed,
            callback=lambda evolution, _: evolution.rows[-1]["n_steps"] * repeat < n_steps,
        )
        parameters = policy.controller_parameters.detach().numpy().astype(np.float64)
        returns = evaluator.evaluate(parameters[None], range(_SEED, _SEED + episodes), give_up=False).returns[0]
    low, high = bootstrap_interval(returns)
    figures = {"mean_return": returns.mean(), "std_return": returns.std(), "low": low, "high": high}
    last = evolution.rows[-1]
    return (
        {"env": ENV, "variant": name, "n_parameters": policy.n_parameters, "validation_nll": round(nll, 4)}
        | {label: round(float(value), 1) for label, value in figures.items()}
        | {"episodes": episodes, "generations": int(last["generation"]), "search_steps": int(last["n_steps"]) * repeat}
        | {"vision_steps": base.vision_stage.n_steps, "memory_steps": base.memory_stage.n_steps, "seed": seed}
        | versions()
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800_000, help="environment steps of each search")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", metavar="NAME=VALUE", help="as of ardae-rl world-model")
    parser.add_argument("--folder", type=Path, default=RUNS / "ablation")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    th.set_num_threads(1)
    arguments, _ = constructor_arguments("world_models", ENV)
    arguments = overridden(arguments, options.set or [])
    base = WorldModels(env=ENV, folder=options.folder, seed=options.seed, verbose=1, **arguments)
    base.collect()
    base.train_vision()
    rows = []
    for name in VARIANTS:
        rows.append(result(base, name, options.steps, options.episodes))
        write_csv(options.out / "world_model_ablation.csv", rows)
    shown = ("variant", "validation_nll", "mean_return", "std_return", "low", "high", "generations")
    print_table([{column: row[column] for column in shown} for row in rows], ENV)


if __name__ == "__main__":
    main()
