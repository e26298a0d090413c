"""Controllers evolved in dreams at several temperatures: survival in the dream and the game (World Models, Table 2).

Data, vision and memory are those of ``ardae-rl world-model memory --env ardae/TakeCover-v0``. Each controller is then
evolved in its dream alone, for the number of generations in zoo_configs/world_models.yml, and its mean survival is
measured over episodes of that dream and of the game. The experiment take_cover has the returns of untrained policies.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ardae_rl.common.checks import check_positive
from ardae_rl.evaluation import bootstrap_interval, evaluate
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.dream import Dream
from ardae_rl.world_models.search_stage import dream_starts, make_dream_evaluator
from experiments.figure import Figure, needed
from experiments.world_model import TINY, base_settings, finished_model, run_name

ENV = "ardae/TakeCover-v0"
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"episodes": 1, "max_steps": 20, "arguments": TINY},
    "quick": {"episodes": 100, "max_steps": 2100, "arguments": ()},
}
_SEED = 10_000  # of the first episode of an evaluation


def runs(
    budget: str,
    n_seeds: int,
    *,
    temperatures: tuple[float, ...] = (0.5, 1.0, 1.15, 1.3),
    arguments: tuple[str, ...] = (),
) -> list[dict[str, Any]]:
    for temperature in temperatures:
        check_positive("temperatures", temperature)
    sizes = {name: value for name, value in BUDGETS[budget].items() if name != "arguments"}
    return [
        {"name": run_name(f"temperature {temperature:g} seed{seed}", arguments), "temperature": temperature}
        | {"seed": seed, "arguments": " ".join(arguments)}
        | {"needs": base_settings(ENV, seed, BUDGETS[budget]["arguments"], arguments)}
        | sizes
        for seed in range(n_seeds)
        for temperature in temperatures
    ]


def prepare(settings: dict[str, Any], run: Run) -> None:
    """Collect episodes, and train vision and memory."""
    finished_model(settings, run.folder, memory=True)


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Evolve a controller in the dream at one temperature; measure how long it survives there and in the game."""
    model = finished_model(settings["needs"], needed(run.folder, settings), memory=True)
    episodes = settings["episodes"]
    dreamt = _evolve_in_dream(model, settings, run)
    real = evaluate(model, ENV, episodes, _SEED, n_envs=4 * model.n_workers or 1)
    low, high = bootstrap_interval(real.returns)
    figures = {"dream_mean": dreamt.pop("dream_mean"), "dream_std": dreamt.pop("dream_std")}
    figures |= {"real_mean": real.mean_return, "real_std": real.std_return, "real_low": low, "real_high": high}
    rounded = {name: round(value, 1) for name, value in figures.items()}
    key = {"env": ENV, "temperature": settings["temperature"], "arguments": settings["arguments"]}
    return [key | rounded | dreamt]


def _evolve_in_dream(model: WorldModels, settings: dict[str, Any], run: Run) -> dict[str, Any]:
    temperature, episodes, seed = settings["temperature"], settings["episodes"], model.seed or 0
    stage = replace(model.search_stage, temperature=temperature)
    done_factor = model.memory_stage.done_factor
    dream = Dream(model.policy, dream_starts(model.latents()), temperature, done_factor=done_factor)
    model.policy.controller_parameters.data.zero_()
    with make_dream_evaluator(dream, settings["max_steps"], model.n_workers) as evaluator:
        evolution = stage(model.policy, evaluator, run, seed=seed)
        parameters = model.policy.controller_parameters.detach().numpy().astype(np.float64)
        lengths = evaluator.evaluate(parameters[None], range(_SEED, _SEED + episodes)).lengths[0]
    return {
        "dream_mean": float(lengths.mean()),
        "dream_std": float(lengths.std()),
        "generations": stage.n_generations,
        "population": stage.population_size,
        "dream_steps": int(evolution.rows[-1]["n_steps"]),
        "episodes": episodes,
        "seed": seed,
    }


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("temperature", "dream_mean", "dream_std", "real_mean", "real_std", "real_low", "real_high"),
    seeds={"smoke": 1, "quick": 1},
    prepare=prepare,
    key=("env", "temperature", "arguments", "generations", "episodes", "seed"),
)
