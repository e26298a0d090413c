"""The ``ardae-rl`` command: RL Zoo's scripts with our algorithms added; evaluation, learning curves, a demo."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

try:
    import typer
except ModuleNotFoundError as error:
    raise SystemExit(f"ardae-rl: {error.name} is not installed; it comes with: pip install 'ardae-rl[zoo]'") from error

from ardae_rl import evaluation, presets
from ardae_rl.cli import agents, zoo, zoo_checks, zoo_options
from ardae_rl.cli.agents import Pretrained
from ardae_rl.cli.commands import command
from ardae_rl.cli.env_kwargs import EnvKwargs
from ardae_rl.cli.errors import print_error
from ardae_rl.cli.world_model import app as world_model_app
from ardae_rl.common.checks import check_count, check_output, check_seed
from ardae_rl.grid.suites import DEFAULT_ALGORITHMS, SUITES, VARIANTS
from ardae_rl.plotting import SOURCES, learning_curves
from ardae_rl.pretrained.catalog import PretrainedModel
from ardae_rl.registry import ALGORITHMS, OUR_ALGORITHMS, folder_name, imported
from ardae_rl.runs.progress import progress_bar
from ardae_rl.version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, evaluate and inspect agents.")
app.add_typer(world_model_app, name="world-model")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ardae-rl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# Options that are not ours are passed on to RL Zoo's script. No option of `train` has a short form of ours:
# a parser that knows -f would find it inside RL Zoo's -conf.
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

_ALGO = typer.Option(help=f"Algorithm: {', '.join(OUR_ALGORITHMS)}, or one of SB3's by RL Zoo's name, e.g. sac.")
_ENV = typer.Option("--env", help="Environment id, e.g. Hopper-v5.")
_MODEL = typer.Option("--model", help="A saved model (.zip), or a run folder of `train`.")
Algo = Annotated[str, _ALGO]
Env = Annotated[str, _ENV]
# Not needed with --pretrained
AnyAlgo = Annotated[str | None, _ALGO]
AnyEnv = Annotated[str | None, _ENV]
AnyModel = Annotated[Path | None, _MODEL]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", "-f", help="Folder that `train` logged to; by default logs.", show_default=False),
]
ExpId = Annotated[
    int | None,
    typer.Option(help="Number of the run; 0 or no number for the newest run that has a model.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of the environment and of sampled actions.")]

_CHECKOUT = "clone it; in its folder, run: pip install -e '.[experiments]' && python -m experiments run"


@command(app, "train --algo sac_ardae --env Pendulum-v1 --seed 1", context_settings=PASS_THROUGH)
def train(
    ctx: typer.Context,
    algo: Algo,
    env_id: Env,
    preset: Annotated[str | None, typer.Option(help="Use zoo_configs/ALGO_PRESET.yml, e.g. paper.")] = None,
    demonstrations: Annotated[
        str | None,
        typer.Option("--demos", help=f"Demonstrations for {', '.join(zoo.FROM_DEMONSTRATIONS)}: .npz or minari:ID."),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train with RL Zoo, or search hyper-parameters with -optimize.

    All other options are RL Zoo's: -n STEPS, --seed, --eval-freq, -params NAME:VALUE, -conf FILE, -f FOLDER,
    --env-kwargs NAME:VALUE, -optimize, --n-trials and the rest of `python -m rl_zoo3.train --help`.
    """
    arguments = list(ctx.args)
    env_id = zoo.check_names(algo, env_id, arguments)
    zoo.check_arguments(algo, arguments, env_id)
    zoo.add_demonstrations(algo, demonstrations, arguments, env_id)
    if not zoo_options.has_option(arguments, *zoo_options.CONF_FILE):
        config = presets.config_file(algo, preset)
        typer.echo(presets.used_block(config, env_id))
        arguments += ["--conf-file", str(config)]
    elif preset is not None:
        raise ValueError(f"`preset` must be left out with -conf, got {preset!r}")
    if (notice := zoo.lost_buffer(algo, arguments)) is not None:
        typer.echo(notice, err=True)
    if progress:
        arguments.append("--progress")
    log_folder = Path((zoo_options.option_values(arguments, *zoo_options.LOG_FOLDER) or ["logs"])[0])
    earlier = zoo.run_folders(log_folder, algo, env_id)
    zoo.run_script("train", ["--algo", algo, "--env", env_id, *arguments])
    if not zoo_options.has_option(arguments, *zoo_options.OPTIMIZE):
        for run in sorted(zoo.run_folders(log_folder, algo, env_id) - earlier):
            _draw(algo, env_id, run)


def _draw(algo: str, env_id: str, run: Path) -> None:
    """Draw plots of what a run has learned into its folder, if the algorithm has any and the run has a model."""
    after_training = ALGORITHMS[algo].after_training
    if after_training is None or not (run / f"{folder_name(env_id)}.zip").is_file():
        return
    model = evaluation.load_for_evaluation(algo, evaluation.find_model(run)[0])
    for path in imported(after_training)(model, env_id, run, evaluation.trained_env_kwargs(run)):
        typer.echo(f"wrote {path}")


@command(app, "enjoy --algo sac_ardae --env Pendulum-v1", context_settings=PASS_THROUGH)
def enjoy(
    ctx: typer.Context,
    algo: AnyAlgo = None,
    env_id: AnyEnv = None,
    folder: Folder = None,
    exp_id: ExpId = None,
    pretrained: Pretrained = None,
) -> None:
    """Watch a trained agent.

    All other options are RL Zoo's: -n STEPS, --no-render, --load-best, --stochastic and the rest of
    `python -m rl_zoo3.enjoy --help`.
    """
    if not zoo.has_display() and not zoo_options.has_option(ctx.args, "--no-render"):
        raise ValueError("no display found; use `ardae-rl record`, or --no-render")
    _play("enjoy", ctx.args, algo, env_id, folder, exp_id, pretrained)


@command(app, "record --algo sac_ardae --env Pendulum-v1 -n 1000", context_settings=PASS_THROUGH)
def record(
    ctx: typer.Context,
    algo: AnyAlgo = None,
    env_id: AnyEnv = None,
    folder: Folder = None,
    exp_id: ExpId = None,
    pretrained: Pretrained = None,
) -> None:
    """Record a video of a trained agent into the folder videos/ of its run, or for a pretrained agent into ./videos/.

    All other options are RL Zoo's: -n STEPS, -o FOLDER, --load-best, --stochastic and the rest of
    `python -m rl_zoo3.record_video --help`.
    """
    _described(pretrained, ctx.args, algo, env_id, folder, exp_id)
    typer.echo(f"recording {pretrained or f'{algo} on {env_id}'}")
    arguments = list(ctx.args)
    if pretrained is not None and not zoo_options.has_option(arguments, *zoo_options.OUTPUT_FOLDER):
        arguments += ["-o", "videos"]
    _play("record_video", arguments, algo, env_id, folder, exp_id, pretrained)


def _described(
    pretrained: str | None,
    arguments: list[str],
    algo: str | None,
    env_id: str | None,
    folder: Path | None,
    exp_id: int | None,
) -> PretrainedModel | None:
    """Return the pretrained model to play, or None to play a run."""
    model = agents.described(pretrained, algo=algo, env_id=env_id)
    if model is not None:
        agents.check_left_out(pretrained, folder=folder, exp_id=exp_id)
        for option in zoo_options.MODEL_OF_RUN:
            if zoo_options.has_option(arguments, option):
                raise ValueError(f"{option} must be left out with the model {pretrained!r}")
    return model


def _play(
    script: str,
    arguments: list[str],
    algo: str | None,
    env_id: str | None,
    folder: Path | None,
    exp_id: int | None,
    pretrained: str | None,
) -> None:
    """Run a script of RL Zoo on a pretrained model, on the chosen run, or on the newest one that has the model."""
    model = _described(pretrained, arguments, algo, env_id, folder, exp_id)
    if model is not None:
        with agents.as_run(model) as (log_folder, env_kwargs):
            _play(script, [*env_kwargs, *arguments], model.algo, model.env_id, log_folder, 1, None)
        return
    assert algo is not None and env_id is not None
    env_id = zoo.check_names(algo, env_id, arguments)
    zoo_checks.check_numbers(arguments)
    zoo_checks.check_device(arguments)
    zoo_checks.check_folder(arguments, *zoo_options.OUTPUT_FOLDER)
    folder = folder or Path("logs")
    run = zoo.find_run(folder, algo, env_id, exp_id or 0, arguments)
    fixed = ["--algo", algo, "--env", env_id, "--folder", str(folder), "--exp-id", str(run)]
    zoo.run_script(script, [*fixed, *arguments])


@command(app, "evaluate --algo sac_ardae --env Pendulum-v1 --model logs/sac_ardae/Pendulum-v1_1")
def evaluate(
    algo: AnyAlgo = None,
    env_id: AnyEnv = None,
    path: AnyModel = None,
    n_episodes: Annotated[int, typer.Option("--episodes", help="Number of episodes.")] = 20,
    seed: Seed = 0,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Sample the actions.")] = False,
    output: Annotated[Path | None, typer.Option(help="File to write the result to, as JSON.")] = None,
    allow_wrappers: Annotated[bool, typer.Option(help="Accept an id registered with additional wrappers.")] = False,
    env_kwargs: EnvKwargs = None,
    pretrained: Pretrained = None,
) -> None:
    """Evaluate an agent on the official, unmodified environment, with the arguments that it was trained with."""
    check_count("n_episodes", n_episodes)
    check_seed(seed)
    if output is not None:
        check_output("output", output)
    chosen = agents.chosen(pretrained, algo, env_id, path, env_kwargs)
    with progress_bar("evaluation: episodes", n_episodes, True) as update:
        result = evaluation.evaluate(
            chosen.load(),
            chosen.env_id,
            n_episodes,
            seed,
            not stochastic,
            chosen.statistics,
            allow_wrappers,
            env_kwargs=chosen.env_kwargs,
            on_episode=update,
        )
    result = replace(result, algo=chosen.algo, model=chosen.name)
    typer.echo(result)
    if output is not None:
        result.write(output)


@command(app, "collect-demos --algo sac --env Pendulum-v1 --model logs/sac/Pendulum-v1_1 --out demos.npz")
def collect_demos(
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    algo: AnyAlgo = None,
    env_id: AnyEnv = None,
    path: AnyModel = None,
    n_episodes: Annotated[int, typer.Option("--episodes", help="Number of episodes.")] = 10,
    seed: Seed = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Take deterministic actions instead of sampling them.")
    ] = False,
    env_kwargs: EnvKwargs = None,
    pretrained: Pretrained = None,
) -> None:
    """Collect demonstrations from a trained agent, for inverse reinforcement learning."""
    from stable_baselines3.common.utils import check_for_correct_spaces, set_random_seed
    from stable_baselines3.common.vec_env import VecNormalize

    from ardae_rl.irl import collect_demonstrations, save_trajectories

    check_count("n_episodes", n_episodes)
    check_seed(seed)
    check_output("out", out)
    chosen = agents.chosen(pretrained, algo, env_id, path, env_kwargs)
    agent = chosen.load()
    with progress_bar("demonstrations: episodes", n_episodes, True) as update:
        venv = evaluation.official_env(chosen.env_id, seed, n_episodes=n_episodes, env_kwargs=chosen.env_kwargs)
        venv = agent._wrap_env(venv, verbose=0)  # channels first for policies of images, as in training
        if chosen.statistics is not None:
            venv = VecNormalize.load(str(chosen.statistics), venv)
        check_for_correct_spaces(venv, agent.observation_space, agent.action_space)
        set_random_seed(seed)  # of sampled actions
        trajectories = collect_demonstrations(agent, venv, n_episodes, deterministic, seed, update)
    returns = [float(trajectory.rewards.sum()) for trajectory in trajectories if trajectory.rewards is not None]
    typer.echo(f"{len(trajectories)} episodes, mean return {sum(returns) / len(returns):.2f}")
    save_trajectories(out, trajectories)
    typer.echo(f"wrote {out}")


@command(app, "plot logs/sac_ardae/Pendulum-v1_1 logs/sac/Pendulum-v1_1 --output pendulum.png")
def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; runs of the same algorithm and environment are averaged.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The image to write.")] = Path("learning_curves.png"),
    source: Annotated[str, typer.Option(help=f"What to draw: {' or '.join(SOURCES)}.")] = SOURCES[0],
    window: Annotated[int, typer.Option(help="Number of training episodes to average over.")] = 20,
) -> None:
    """Draw learning curves: mean and standard deviation over runs."""
    output = output if output.suffix else output.with_suffix(".png")
    check_output("output", output)
    figure = learning_curves(runs, source, window)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    typer.echo(f"wrote {output}")


@command(app, "demo --out runs/demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the model, the curve and the evaluation.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of training and evaluation.")] = 0,
    timesteps: Annotated[int, typer.Option(help="Number of environment steps to train for.")] = 5_000,
) -> None:
    """Train an agent on Pendulum-v1, evaluate it, and draw its learning curve."""
    from ardae_rl.cli.demo import demo as run_demo

    result = run_demo(out, seed, timesteps)
    typer.echo(result)
    typer.echo(f"wrote {out}/model.zip, {out}/learning_curve.png, {out}/evaluation.json")


@command(app, "reproduce fig3")
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            help="fig2 to fig5, fig7, figS1, figS2, figS4, table-dbmnist, table-sbmnist (AR-DAE's paper), "
            "dvbf-pendulum, dvbf-pixels."
        ),
    ],
    budget: Annotated[str, typer.Option(help="quick (minutes), or paper (the paper's numbers of updates: hours).")] = (
        "quick"
    ),
    n_seeds: Annotated[
        int | None, typer.Option("--seeds", help="Number of repetitions; by default the budget's.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Number of processes, with one thread each; by default 2.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the table and the figure.")] = Path("runs/experiments"),
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option, such as data=FOLDER for the tables; repeatable."),
    ] = None,
) -> None:
    """Reproduce a figure or table of a paper, with its numbers and a plot. Needs a checkout of the repository.

    `python -m experiments list` shows all experiments. An interrupted command resumes where it stopped.
    """
    try:
        run_experiment = importlib.import_module("experiments.figure").run_experiment
    except ModuleNotFoundError as error:
        if error.name not in ("experiments", "experiments.figure"):
            raise
        raise ImportError(f"reproduce needs a checkout of the repository: {_CHECKOUT} {name}") from error
    try:
        written = run_experiment(name, budget, n_seeds, jobs, out, options or ())
    except RuntimeError as error:  # as when runs have failed
        raise ValueError(str(error)) from error
    for path in written:
        typer.echo(f"wrote {path}")


@command(app, "benchmark --envs Pendulum-v1 --algos sac,sac_ardae --steps 20000 --eval-freq 1000 --seeds 3")
def benchmark(
    suite: Annotated[str, typer.Option(help=f"Environments: {', '.join(SUITES)}.")] = next(iter(SUITES)),
    algos: Annotated[str, typer.Option(help=f"Algorithms, separated by commas: {', '.join(VARIANTS)}.")] = ",".join(
        DEFAULT_ALGORITHMS
    ),
    envs: Annotated[
        str | None, typer.Option(help="Environment ids instead of the suite's, separated by commas, e.g. Hopper-v5.")
    ] = None,
    n_seeds: Annotated[int, typer.Option("--seeds", help="Number of seeds: 0, 1, ...")] = 5,
    steps: Annotated[int, typer.Option(help="Environment steps per run.")] = 1_000_000,
    eval_freq: Annotated[int, typer.Option(help="Environment steps between evaluations.")] = 10_000,
    eval_episodes: Annotated[int, typer.Option(help="Episodes per evaluation.")] = 10,
    jobs: Annotated[int, typer.Option(help="Number of processes, with one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/benchmark"),
    ray: Annotated[bool, typer.Option("--ray", help="Let Ray schedule the runs, on a cluster or here.")] = False,
    gpus: Annotated[float, typer.Option(help="GPUs per run, or a fraction of one; with --ray.")] = 0,
) -> None:
    """Train a grid of algorithms, environments and seeds, evaluated on the unmodified environments.

    An interrupted command resumes where it stopped. `ardae-rl report` makes tables and curves of the finished runs.
    """
    from ardae_rl.grid.grid import benchmark as run_benchmark
    from ardae_rl.runs.tables import print_table

    rows = run_benchmark(
        suite,
        _names(algos),
        None if envs is None else _names(envs),
        n_seeds=n_seeds,
        steps=steps,
        eval_freq=eval_freq,
        eval_episodes=eval_episodes,
        jobs=jobs,
        out=out,
        ray=ray,
        gpus=gpus,
    )
    print_table(rows, f"{out}")
    if any(row["state"] != "finished" for row in rows):
        raise typer.Exit(1)


@command(app, "report runs/benchmark")
def report(
    out: Annotated[Path, typer.Argument(help="Folder of the runs of `ardae-rl benchmark`.")] = Path("runs/benchmark"),
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=FOLDER", help="Another benchmark to compare with, e.g. of an earlier version."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Use the evaluations up to this step, e.g. to compare with shorter runs.", show_default=False
        ),
    ] = None,
) -> None:
    """Write report.md and two figures about the finished runs of a benchmark."""
    from ardae_rl.grid.report import report as write_report

    path = write_report(out, _labeled_folders(beside or []), steps)
    typer.echo(f"wrote {path}")


@command(app, "models")
def models() -> None:
    """List the trained models that come with the package, for the option --pretrained of enjoy, record and evaluate."""
    from ardae_rl.pretrained import pretrained_models

    for name, model in pretrained_models().items():
        typer.echo(f"{name}: {model.summary()}")


@command(app, "doctor > doctor.txt")
def doctor() -> None:
    """Print versions, extras, devices and what is missing, as text to paste into an issue."""
    from ardae_rl.cli.doctor import report as diagnosis

    typer.echo(diagnosis())


def _names(text: str) -> list[str]:
    """Return the names in a comma-separated text."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _labeled_folders(beside: list[str]) -> dict[str, Path]:
    folders = {}
    for text in beside:
        label, equals, folder = text.partition("=")
        if not (label and equals and folder):
            raise ValueError(f"`beside` must have the form LABEL=FOLDER, got {text!r}")
        folders[label] = Path(folder)
    return folders


def main() -> None:
    """Run the command: the entry point of the console script. Typer's own errors become one line as well."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        print_error("interrupted")
        sys.exit(130)
    except Exception as error:
        # Typer's error class is not public, and its base class depends on the version
        if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
        else:
            print_error(" ".join(error.format_message().split()))
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
