"""``ardae-rl world-model``: the stages of World Models, and what came of them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ardae_rl.cli.errors import one_line_errors

if TYPE_CHECKING:
    from ardae_rl.world_models import WorldModels

app = typer.Typer(
    no_args_is_help=True,
    help="World Models in stages, each of which does what is missing of those before it. An interrupted command goes "
    "on where it was.",
)

Env = Annotated[str, typer.Option(help="Environment id.")]
Folder = Annotated[Path, typer.Option(help="For data, checkpoints and the model.")]
Preset = Annotated[str | None, typer.Option(help="Use zoo_configs/world_models_PRESET.yml.")]
Seed = Annotated[int, typer.Option(help="Of all random generators.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE in place of the file's, e.g. n_episodes=50; n_timesteps.")
]
_ENV, _FOLDER = "CarRacing-v3", Path("runs/world_models")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_SHARE_OF_TRAINING = 0.8  # of a budget; the rest is for 100 episodes of evaluation, and the video


@app.command()
def collect(
    env: Env = _ENV, folder: Folder = _FOLDER, preset: Preset = None, seed: Seed = 0, assignments: Set = None
) -> None:
    """Collect episodes."""
    with one_line_errors(collect):
        model, _ = _configured(env, folder, preset, seed, assignments)
        model.collect()
        store = model.store()
    typer.echo(f"{len(store)} episodes, {store.n_steps} steps, mean return {store.returns.mean():.1f}: {store.folder}")


@app.command()
def vision(
    env: Env = _ENV, folder: Folder = _FOLDER, preset: Preset = None, seed: Seed = 0, assignments: Set = None
) -> None:
    """Train the vision model."""
    with one_line_errors(vision):
        model, _ = _configured(env, folder, preset, seed, assignments)
        model.collect()
        rows = model.train_vision()
    _say(rows[-1])


@app.command()
def memory(
    env: Env = _ENV, folder: Folder = _FOLDER, preset: Preset = None, seed: Seed = 0, assignments: Set = None
) -> None:
    """Train the memory."""
    with one_line_errors(memory):
        model, _ = _configured(env, folder, preset, seed, assignments)
        model.collect()
        model.train_vision()
        rows = model.train_memory()
    _say(rows[-1])


@app.command()
def controller(
    env: Env = _ENV, folder: Folder = _FOLDER, preset: Preset = None, seed: Seed = 0, assignments: Set = None
) -> None:
    """Evolve the controller; FOLDER/model.zip is the agent then."""
    _learn(env, folder, preset, seed, assignments)


@app.command()
def train(
    env: Env = _ENV,
    folder: Folder = _FOLDER,
    preset: Preset = None,
    seed: Seed = 0,
    assignments: Set = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for all of it, as 90m or 2h: the search for the controller ends earlier, if need be."),
    ] = None,
    episodes: Annotated[int, typer.Option(help="Of the evaluation.")] = 100,
) -> None:
    """All stages, the evaluation, the stages' curves and the video."""
    with one_line_errors(train):
        seconds = None if budget is None else _seconds(budget)
    _learn(env, folder, preset, seed, assignments, seconds)
    evaluate(env, folder, episodes)
    with one_line_errors(train):
        from ardae_rl.world_models.plots import draw_learning

        # A budget can end before the first search, or in a later round's collection
        searched = [table.parent for table in folder.glob("round_*/controller.csv")]
        if searched:
            last = max(searched, key=lambda path: int(path.name.removeprefix("round_")))
            typer.echo(f"wrote {draw_learning(last, folder / 'learning.png')}")
    dream(env, folder)


@app.command()
def evaluate(
    env: Env = _ENV,
    folder: Folder = _FOLDER,
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the first episode, the others have the next; training has others.")] = (
        10_000
    ),
) -> None:
    """Evaluate FOLDER/model.zip on the unmodified environment, into evaluation.json and evaluation.csv there."""
    with one_line_errors(evaluate):
        from ardae_rl.evaluation import evaluate as run_evaluation
        from ardae_rl.runs.tables import write_csv

        model = _load(folder)
        result = run_evaluation(model, env, episodes, seed, n_envs=4 * model.n_workers or 1)
    result.write(folder / "evaluation.json")
    write_csv(folder / "evaluation.csv", [{"env": env, **row, **result.versions} for row in result.rows()])
    typer.echo(result)


@app.command()
def dream(
    env: Env = _ENV,
    folder: Folder = _FOLDER,
    steps: Annotated[int, typer.Option(help="Length of the video, in decisions.")] = 300,
    temperature: Annotated[float, typer.Option(help="Of the dream.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the environment and the dream.")] = 0,
) -> None:
    """Film FOLDER/model.zip: in the environment, as its vision model sees that, and in a dream from the same start."""
    with one_line_errors(dream):
        from ardae_rl.world_models.film import film

        path = film(_load(folder).policy, env, folder / "dream.mp4", steps, temperature, seed)
    typer.echo(f"wrote {path}: environment, reconstruction, dream")


def _learn(
    env: str, folder: Path, preset: str | None, seed: int, assignments: list[str] | None, seconds: float | None = None
) -> None:
    with one_line_errors(train):
        from ardae_rl.common.callbacks import StopAfter

        model, n_timesteps = _configured(env, folder, preset, seed, assignments)
        callback = None if seconds is None else StopAfter(_SHARE_OF_TRAINING * seconds)
        model.learn(n_timesteps, callback, progress_bar=True)
        model.save(folder / "model")
    typer.echo(f"wrote {folder / 'model.zip'}")


def _seconds(text: str) -> float:
    """Of a time such as 90m."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.replace(".", "", 1).isdigit() or float(number) == 0:
        raise ValueError(f"--budget: got {text!r}; accepted: a number with one of {', '.join(_UNITS)}, as 90m")
    return float(number) * _UNITS[unit]


def _configured(
    env: str, folder: Path, preset: str | None, seed: int, assignments: list[str] | None
) -> tuple[WorldModels, int]:
    """Return the model that a block of a hyper-parameter file describes, and its number of environment steps."""
    from ardae_rl import presets
    from ardae_rl.registry import environment_id
    from ardae_rl.world_models import WorldModels

    env_id = environment_id(env)
    typer.echo(presets.used_block(presets.config_file("world_models", preset), env_id))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the line above has said which block it is
        arguments, n_timesteps = presets.constructor_arguments("world_models", env_id, preset)
    arguments = presets.overridden({**arguments, "n_timesteps": n_timesteps}, assignments or [])
    n_timesteps = int(arguments.pop("n_timesteps"))
    return WorldModels(env=env_id, folder=folder, seed=seed, verbose=1, **arguments), n_timesteps


def _load(folder: Path) -> WorldModels:
    from ardae_rl.world_models import WorldModels

    path = folder / "model.zip"
    if not path.exists():
        raise ValueError(f"--folder: {folder} has no model.zip; accepted: one that `ardae-rl world-model train` made")
    return WorldModels.load(path)


def _say(row: dict[str, float]) -> None:
    typer.echo(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
