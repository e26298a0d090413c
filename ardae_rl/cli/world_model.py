"""``ardae-rl world-model``: the training stages of World Models, and the evaluation and video of the result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ardae_rl import presets
from ardae_rl.cli.commands import command
from ardae_rl.cli.env_kwargs import EnvKwargs, TrainingEnvKwargs, parsed
from ardae_rl.common.callbacks import StopAfter
from ardae_rl.common.checks import check_count, check_device, check_positive, check_seed
from ardae_rl.common.optional import require
from ardae_rl.environments import EnvDescription
from ardae_rl.evaluation import evaluate as run_evaluation
from ardae_rl.evaluation import load_for_evaluation
from ardae_rl.registry import environment_id, folder_name
from ardae_rl.runs.progress import progress_bar
from ardae_rl.runs.tables import write_csv

if TYPE_CHECKING:
    from ardae_rl.world_models import WorldModels

app = typer.Typer(
    no_args_is_help=True,
    help="Train World Models in stages. Each stage first runs the missing stages before it. An interrupted command "
    "resumes where it stopped.",
)

Env = Annotated[str, typer.Option("--env", help="Environment id.")]
TrainedEnv = Annotated[
    str | None, typer.Option("--env", help="Environment id; by default the one used in training.", show_default=False)
]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Folder for data, checkpoints and the model; by default runs/world_models/ENV.", show_default=False
    ),
]
Preset = Annotated[str | None, typer.Option(help="Use zoo_configs/world_models_PRESET.yml.")]
Seed = Annotated[int, typer.Option(help="Seed of all random generators.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="NAME=VALUE; overrides the file, e.g. n_episodes=50 or policy_kwargs.z_dim=64. Repeatable."
    ),
]
_ENV, _FOLDERS = "CarRacing-v3", Path("runs/world_models")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_TRAINING_SHARE = 0.8  # of a time budget; the rest is for 100 episodes of evaluation, and the video


def stage(example: str) -> Callable[[Callable[[WorldModels, int], None]], Callable[..., None]]:
    """Return a decorator that adds a command which trains in a folder, with the options that describe the training.

    :param example: As of :func:`~ardae_rl.cli.commands.command`.
    """

    def decorate(function: Callable[[WorldModels, int], None]) -> Callable[..., None]:
        def run(
            env_id: Env = _ENV,
            folder: Folder = None,
            preset: Preset = None,
            seed: Seed = 0,
            assignments: Set = None,
            env_kwargs: TrainingEnvKwargs = None,
        ) -> None:
            with _configured(env_id, folder, preset, seed, assignments, env_kwargs) as (model, n_timesteps):
                function(model, n_timesteps)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        return command(app, example)(run)

    return decorate


@stage("world-model collect --env CarRacing-v3")
def collect(model: WorldModels, _: int) -> None:
    """Collect episodes."""
    model.collect()
    store = model.store()
    typer.echo(f"{len(store)} episodes, {store.n_steps} steps, mean return {store.returns.mean():.1f}: {store.folder}")


@stage("world-model vision --env CarRacing-v3")
def vision(model: WorldModels, _: int) -> None:
    """Train the vision model."""
    model.collect()
    _print(model.train_vision()[-1])


@stage("world-model memory --env CarRacing-v3")
def memory(model: WorldModels, _: int) -> None:
    """Train the memory model."""
    model.collect()
    model.train_vision()
    _print(model.train_memory()[-1])


@stage("world-model controller --env CarRacing-v3")
def controller(model: WorldModels, n_timesteps: int) -> None:
    """Evolve the controller, and save the agent as FOLDER/model.zip."""
    _learn(model, n_timesteps)


@command(app, "world-model train --env CarRacing-v3 --budget 1h")
def train(
    env_id: Env = _ENV,
    folder: Folder = None,
    preset: Preset = None,
    seed: Seed = 0,
    assignments: Set = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for everything, e.g. 90m or 2h. If necessary, the controller's search ends early."),
    ] = None,
    evaluation_episodes: Annotated[int, typer.Option("--episodes", help="Number of episodes of the evaluation.")] = 100,
    env_kwargs: TrainingEnvKwargs = None,
) -> None:
    """Run all stages, evaluate the agent, draw learning curves and film it."""
    check_count("evaluation_episodes", evaluation_episodes)
    require("matplotlib", "plots")  # before the training, not after it
    require("moviepy", "zoo")
    seconds = None if budget is None else _seconds(budget)
    with _configured(env_id, folder, preset, seed, assignments, env_kwargs) as (model, n_timesteps):
        folder = _learn(model, n_timesteps, seconds)
    evaluate(env_id, folder, evaluation_episodes, env_kwargs=env_kwargs)
    from ardae_rl.world_models.plots import draw_learning

    # A budget can end before the first search, or during a later round's collection
    searched = [table.parent for table in folder.glob("round_*/controller.csv")]
    if searched:
        last = max(searched, key=lambda path: int(path.name.removeprefix("round_")))
        typer.echo(f"wrote {draw_learning(last, folder / 'learning.png')}")
    dream(env_id, folder, env_kwargs=env_kwargs)


@command(app, "world-model evaluate")
def evaluate(
    env_id: TrainedEnv = None,
    folder: Folder = None,
    n_episodes: Annotated[int, typer.Option("--episodes", help="Number of episodes.")] = 100,
    seed: Annotated[
        int, typer.Option(help="Seed of the first episode; the others have the next seeds. Training uses other seeds.")
    ] = 10_000,
    env_kwargs: EnvKwargs = None,
) -> None:
    """Evaluate FOLDER/model.zip on the unmodified environment, and write evaluation.json and evaluation.csv there."""
    check_seed(seed)
    folder = folder or _default_folder(env_id or _ENV)
    model = _load(folder)
    env_id, kwargs = _evaluation_env(model, env_id, env_kwargs)
    with progress_bar("evaluation: episodes", n_episodes, True) as update:
        n_envs = 4 * model.n_workers or 1
        result = run_evaluation(model, env_id, n_episodes, seed, n_envs=n_envs, env_kwargs=kwargs, on_episode=update)
    result.write(folder / "evaluation.json")
    write_csv(folder / "evaluation.csv", [{"env": env_id, **row, **result.versions} for row in result.rows()])
    typer.echo(result)


@command(app, "world-model dream")
def dream(
    env_id: TrainedEnv = None,
    folder: Folder = None,
    n_steps: Annotated[int, typer.Option("--steps", help="Length of the video in decisions.")] = 300,
    temperature: Annotated[float, typer.Option(help="Temperature of the dream.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the environment and the dream.")] = 0,
    env_kwargs: EnvKwargs = None,
) -> None:
    """Film FOLDER/model.zip: the environment, the vision model's reconstruction, and a dream from the same start."""
    from ardae_rl.world_models.film import film

    check_seed(seed)
    check_count("n_steps", n_steps)
    folder = folder or _default_folder(env_id or _ENV)
    model = _load(folder)
    env = EnvDescription.of_id(*_evaluation_env(model, env_id, env_kwargs))
    path = film(model.policy, env, folder / "dream.mp4", n_steps, temperature, seed, progress=True)
    typer.echo(f"wrote {path}: environment, reconstruction, dream")


def _default_folder(env_id: str) -> Path:
    return _FOLDERS / folder_name(env_id.rpartition(":")[2])


def _evaluation_env(model: WorldModels, env_id: str | None, env_kwargs: list[str] | None) -> tuple[str, dict[str, Any]]:
    """Return the id and arguments of the environment to evaluate in: from the options, or else from the training."""
    trained = model.env_description
    if env_id is None and trained is None:
        raise ValueError("`env_id` must be given for a model whose environment was not registered, got None")
    kwargs = parsed(env_kwargs)
    if env_kwargs is None and trained is not None and (env_id is None or environment_id(env_id) == trained.spec.id):
        kwargs = trained.kwargs
    return env_id or trained.spec.id, kwargs  # type: ignore[union-attr]


def _learn(model: WorldModels, n_timesteps: int, seconds: float | None = None) -> Path:
    """Train, save the agent, and return the folder."""
    callback = None if seconds is None else StopAfter(_TRAINING_SHARE * seconds)
    model.learn(n_timesteps, callback, progress_bar=True)
    path, unfinished = model.folder / "model.zip", model.folder / "unfinished.zip"
    model.save(unfinished)
    unfinished.replace(path)
    typer.echo(f"wrote {path}")
    return path.parent


def _seconds(budget: str) -> float:
    """Return a duration such as 90m in seconds."""
    number, unit = budget[:-1], budget[-1:]
    if unit not in _UNITS or not number.replace(".", "", 1).isdigit() or float(number) == 0:
        raise ValueError(f"`budget` must be a positive number with a unit of s, m or h, such as 90m, got {budget!r}")
    return float(number) * _UNITS[unit]


@contextmanager
def _configured(
    env_id: str,
    folder: Path | None,
    preset: str | None,
    seed: int,
    assignments: list[str] | None,
    env_kwargs: list[str] | None,
) -> Iterator[tuple[WorldModels, int]]:
    """Yield the model that a block of a hyper-parameter file describes, and its number of environment steps.

    Inside the block, other processes are kept out of the folder.
    """
    from ardae_rl.world_models import WorldModels

    check_seed(seed)
    description = EnvDescription.of_id(env_id, parsed(env_kwargs))
    folder, env_id = folder or _default_folder(env_id), description.spec.id
    typer.echo(presets.used_block(presets.config_file("world_models", preset), env_id))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the line above has printed which block is used
        arguments, n_timesteps = presets.constructor_arguments("world_models", env_id, preset)
    arguments = presets.overridden({**arguments, "n_timesteps": n_timesteps}, assignments or [])
    n_timesteps = arguments.pop("n_timesteps")
    check_positive("n_timesteps", n_timesteps, finite=True)
    check_device("device", arguments.get("device", "auto"))
    model = WorldModels(env=description.make(), folder=folder, seed=seed, verbose=1, **arguments)
    with model.exclusive():
        yield model, int(n_timesteps)


def _load(folder: Path) -> WorldModels:
    path = folder / "model.zip"
    if not path.exists():
        raise ValueError(
            f"`folder` must be one that `ardae-rl world-model train` wrote, got {folder} without model.zip"
        )
    try:
        return cast("WorldModels", load_for_evaluation("world_models", path))
    except ValueError as error:
        raise ValueError(f"`folder` must have a model of world_models, got {folder}: {error}") from error


def _print(row: dict[str, float]) -> None:
    typer.echo(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
