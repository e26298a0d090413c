"""What the memory contributes in CarRacing: controllers with and without it, and with differently trained memories.

All variants share data and vision (those of ``ardae-rl world-model vision``), all memories have the same number of
gradient steps, and all searches the same number of environment steps. The mean of each search distribution is evaluated
on 100 tracks that no search has seen, with the fast renderer, whose frames equal the official ones.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch as th

from ardae_rl.evaluation import bootstrap_interval
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.environments import make_repeating
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.search_stage import make_evaluator
from experiments.figure import Figure, needed
from experiments.world_model import TINY, base_settings, finished_model, run_name

ENV = "CarRacing-v3"
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 1, "episodes": 1, "arguments": TINY},
    "quick": {"steps": 800_000, "episodes": 100, "arguments": ("memory_kwargs.n_steps=1000",)},
}
_SEED = 10_000  # of the first track of an evaluation


class Variant(NamedTuple):
    """The inputs of a controller, and the training of its memory."""

    controller_input: str
    z_loss: str | None  # None for a memory with its initial weights
    n_components: int = 5


VARIANTS = {
    "z": Variant("z", None),
    "z, h of a random memory": Variant("zh", None),
    "z, h; nll": Variant("zh", "nll"),
    "z, h; bound": Variant("zh", "bound"),
    "z, h; gaussian_kl": Variant("zh", "gaussian_kl", n_components=1),
}


def runs(budget: str, n_seeds: int, *, arguments: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    sizes = {name: value for name, value in BUDGETS[budget].items() if name != "arguments"}
    return [
        {"name": run_name(f"{variant} seed{seed}", arguments), "variant": variant, "seed": seed}
        | {"arguments": " ".join(arguments)}
        | {"needs": base_settings(ENV, seed, BUDGETS[budget]["arguments"], arguments)}
        | sizes
        for seed in range(n_seeds)
        for variant in VARIANTS
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Collect episodes, train the vision, and encode the frames."""
    finished_model(settings, run.folder).latents()


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train the memory of one variant, evolve its controller, and evaluate it."""
    base = finished_model(settings["needs"], needed(run.folder, settings))
    variant, seed, episodes = VARIANTS[settings["variant"]], base.seed or 0, settings["episodes"]
    th.manual_seed(seed)
    policy, nll = _with_memory(base, variant, run)
    repeat, search = policy.action_repeat, base.search_stage
    make_env = partial(make_repeating, "ardae/CarRacingFast-v0", repeat)
    with make_evaluator(policy, make_env, base.n_parallel_envs, base.n_workers, search.patience) as evaluator:
        evolution = search(
            policy,
            evaluator,
            run,
            endless=True,
            seed=seed,
            callback=lambda evolution, _: evolution.rows[-1]["n_steps"] * repeat < settings["steps"],
        )
        parameters = policy.controller_parameters.detach().numpy().astype(np.float64)
        returns = evaluator.evaluate(parameters[None], range(_SEED, _SEED + episodes), give_up=False).returns[0]
    low, high = bootstrap_interval(returns)
    figures = {"mean_return": returns.mean(), "std_return": returns.std(), "low": low, "high": high}
    last = evolution.rows[-1]
    row = {"env": ENV, "variant": settings["variant"], "arguments": settings["arguments"]}
    row |= {"n_parameters": policy.n_parameters}
    row |= {"validation_nll": round(nll, 4)}
    row |= {label: round(float(value), 1) for label, value in figures.items()}
    row |= {"episodes": episodes, "generations": int(last["generation"]), "search_steps": int(last["n_steps"]) * repeat}
    row |= {"vision_steps": base.vision_stage.n_steps, "memory_steps": base.memory_stage.n_steps, "seed": seed}
    return [row]


def _with_memory(base: WorldModels, variant: Variant, run: Run) -> tuple[WorldModelPolicy, float]:
    """Return a policy with the base's vision and the variant's memory, and the memory's validation loss."""
    arguments = {"controller_input": variant.controller_input, "n_components": variant.n_components}
    policy = WorldModelPolicy(base.observation_space, base.action_space, **((base.policy_kwargs or {}) | arguments))
    policy.vision.load_state_dict(base.policy.vision.state_dict())
    if variant.z_loss is None:
        return policy, float("nan")
    latents = base.latents()
    stage = replace(base.memory_stage, z_loss=variant.z_loss)
    rows = stage(policy, base.store(), latents, run, seed=base.seed or 0)
    return policy, rows[-1]["validation_nll"]


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("variant", "validation_nll", "mean_return", "std_return", "low", "high", "generations"),
    seeds={"smoke": 1, "quick": 1},
    prepare=prepare,
    key=("env", "variant", "arguments", "episodes", "vision_steps", "memory_steps", "seed"),
)
