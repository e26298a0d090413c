"""PPO through the encoder: the controller of World Models sees four frames through V's convolutions, which it trains.

The settings are those of zoo_configs/world_models_ppo.yml: training in the fast renderer, without privileged
information; half of the environments start anywhere on the track, and a finished lap has a bonus. The latest weights
and a running average of them drive the same 64 held-out tracks every 100,000 decisions, the best five of all drive 200
other tracks, and the best of these drives three sets of 100 tracks of the unmodified CarRacing-v3. No track belongs to
two of these sets. The number of decisions counts the random driving for V and the training, but not the held-out
tracks. With ``vision=random``, the convolutions start from random weights instead of V's.
"""

from typing import Any

import numpy as np

from ardae_rl.common.checks import check_choice, check_count
from ardae_rl.evaluation import evaluate
from ardae_rl.presets import constructor_arguments, overridden
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import Row, read_csv, write_csv
from ardae_rl.world_models import WorldModels
from experiments.figure import Figure
from experiments.world_model import TINY as TINY_MODELS

ENV, PRESET = "CarRacing-v3", "ppo"
VISIONS = ("pretrained", "random")
TINY = (
    *(assignment for assignment in TINY_MODELS if not assignment.startswith("search_kwargs")),
    "search_kwargs.n_steps=16",
    "search_kwargs.evaluate_every=32",
    "search_kwargs.n_held_out=2",
    "search_kwargs.n_tested=2",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "smoke": {"decisions": 64, "arguments": TINY, "episodes": 1, "evaluation_seeds": 1},
    "quick": {"decisions": 1_000_000, "arguments": (), "episodes": 100, "evaluation_seeds": 3},
    "full": {"decisions": 4_000_000, "arguments": (), "episodes": 100, "evaluation_seeds": 3},
}
FIRST_EVALUATED = 10_000
KEY = ("env", "vision", "seed", "decisions", "first_track")


def runs(
    budget: str, n_seeds: int, *, vision: str = "pretrained", decisions: int | None = None
) -> list[dict[str, Any]]:
    check_choice("vision", vision, VISIONS)
    sizes = BUDGETS[budget] | ({} if decisions is None else {"decisions": decisions})
    check_count("decisions", sizes["decisions"])
    return [
        {"name": f"{vision} {sizes['decisions']} seed{seed}", "env": ENV, "vision": vision, "seed": seed} | sizes
        for seed in range(n_seeds)
    ]


def run(settings: dict[str, Any], run: Run) -> list[Row]:
    """Train one agent, and evaluate it on the official environment."""
    arguments, _ = constructor_arguments("world_models", ENV, PRESET)
    from_vision = f"search_kwargs.from_vision={settings['vision'] == 'pretrained'}"
    arguments = overridden(arguments, [*settings["arguments"], from_vision])
    folder = run.folder / "world_model"
    model = WorldModels(env=ENV, folder=folder, seed=settings["seed"], **arguments)
    model.learn(settings["decisions"] * model.policy.action_repeat)
    model.save(run.folder / "model.zip")
    best = max(read_csv(folder / "round_0" / "controller_tested.csv"), key=lambda row: float(row["tested_mean"]))
    rows: list[Row] = []
    tracks: list[Row] = []
    for k in range(settings["evaluation_seeds"]):
        first = FIRST_EVALUATED + 1000 * k
        result = evaluate(model, ENV, settings["episodes"], first, n_envs=model.n_parallel_envs)
        low, high = result.interval
        figures = {"mean_return": result.mean_return, "std_return": result.std_return, "low": low, "high": high}
        figures |= {"share_above_900": float(np.mean(np.array(result.returns) > 900))}
        row = {name: settings[name] for name in KEY[:-1]} | {"first_track": first, "episodes": settings["episodes"]}
        row |= {"selected_after": best["n_steps"], "averaged": best["averaged"], "on_200_tracks": best["tested_mean"]}
        rows.append(row | {name: round(value, 3) for name, value in figures.items()})
        tracks += [{"first_track": first, **each} for each in result.rows()]
    write_csv(run.folder / "tracks.csv", tracks)
    return rows


FIGURE = Figure(
    runs=runs,
    run=run,
    summary=("vision", "seed", "decisions", "first_track", "mean_return", "std_return", "low", "high"),
    seeds={"smoke": 1, "quick": 1, "full": 2},
    key=KEY,
)
