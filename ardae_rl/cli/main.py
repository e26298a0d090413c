"""The ``ardae-rl`` command: RL Zoo's scripts with our algorithms in them; evaluation, curves and a demo of our own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
except ModuleNotFoundError as error:
    raise SystemExit(f"ardae-rl: {error.name} is not installed; it comes with: pip install 'ardae-rl[zoo]'") from error

from gymnasium.error import DependencyNotInstalled

from ardae_rl import evaluation, presets
from ardae_rl.cli import zoo
from ardae_rl.cli.errors import USER_ERRORS, one_line_errors
from ardae_rl.cli.world_model import app as world_model_app
from ardae_rl.plotting import SOURCES, learning_curves
from ardae_rl.registry import AFTER_TRAINING, algorithm_class, environment_id

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, evaluate and look at agents.")
app.add_typer(world_model_app, name="world-model")
# Options that are not ours go to RL Zoo's script as they stand. No option of `train` has a short form of ours:
# a parser that knows -f would find it inside RL Zoo's -conf.
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}

Algo = Annotated[str, typer.Option(help="Algorithm, e.g. sac_ardae; RL Zoo's names for stock ones.")]
Env = Annotated[str, typer.Option(help="Environment id, e.g. Hopper-v5.")]
Folder = Annotated[Path, typer.Option("--folder", "-f", help="Where `train` logged.")]
ExpId = Annotated[int, typer.Option(help="Number of the run; 0 is the newest that has a model.")]
Seed = Annotated[int, typer.Option(help="Seed of the environment and the sampled actions.")]


@app.command(context_settings=PASS_THROUGH)
def train(
    ctx: typer.Context,
    algo: Algo,
    env: Env,
    preset: Annotated[str | None, typer.Option(help="Use zoo_configs/ALGO_PRESET.yml, e.g. paper.")] = None,
    demos: Annotated[str | None, typer.Option(help="Demonstrations for airl, gail, gan_gcl: .npz, minari:ID.")] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train with RL Zoo, or search hyper-parameters with -optimize.

    Further options are RL Zoo's: -n STEPS, --seed, --eval-freq, -params NAME:VALUE, -conf FILE, -f FOLDER, -optimize,
    --n-trials and the rest of `python -m rl_zoo3.train --help`.
    """
    arguments = list(ctx.args)
    with one_line_errors(train):
        env_id = zoo.check_names(algo, env, arguments)
        zoo.add_demonstrations(algo, demos, arguments)
        if not zoo.has_option(arguments, "-conf", "--conf-file"):
            config = presets.config_file(algo, preset)
            typer.echo(presets.used_block(config, env_id))
            arguments += ["--conf-file", str(config)]
        elif preset is not None:
            raise ValueError(f"--preset: got {preset!r} beside -conf; accepted: one of the two")
    if progress:
        arguments.append("--progress")
    with one_line_errors(train, (DependencyNotInstalled,)):
        zoo.run_script("train", ["--algo", algo, "--env", env_id, *arguments])
    if algo in AFTER_TRAINING and not zoo.has_option(arguments, "-optimize"):
        _draw(algo, env_id, arguments)


def _draw(algo: str, env_id: str, arguments: list[str]) -> None:
    """Pictures of what the newest run has learnt, into its folder."""
    logs = [*zoo.option_values(arguments, "-f"), *zoo.option_values(arguments, "--log-folder"), "logs"]
    with one_line_errors(train):
        number = zoo.find_run(Path(logs[0]), algo, env_id, 0, [])
        run = Path(logs[0]) / algo / f"{env_id.replace('/', '-')}_{number}"
        model = evaluation.load_for_evaluation(algo, evaluation.find_model(run)[0])
        module, function = AFTER_TRAINING[algo].split(":")
        for path in getattr(importlib.import_module(module), function)(model, env_id, run):
            typer.echo(f"wrote {path}")


@app.command(context_settings=PASS_THROUGH)
def enjoy(ctx: typer.Context, algo: Algo, env: Env, folder: Folder = Path("logs"), exp_id: ExpId = 0) -> None:
    """Watch a trained agent.

    Further options are RL Zoo's: -n STEPS, --no-render, --load-best, --stochastic and the rest of
    `python -m rl_zoo3.enjoy --help`.
    """
    with one_line_errors(enjoy):
        if not zoo.has_display() and not zoo.has_option(ctx.args, "--no-render"):
            raise ValueError("enjoy: there is no display; use `ardae-rl record`, or --no-render")
    _play(enjoy, "enjoy", ctx.args, algo, env, folder, exp_id)


@app.command(context_settings=PASS_THROUGH)
def record(ctx: typer.Context, algo: Algo, env: Env, folder: Folder = Path("logs"), exp_id: ExpId = 0) -> None:
    """Record a video of a trained agent into the run's folder videos/.

    Further options are RL Zoo's: -n STEPS, -o FOLDER, --load-best, --stochastic and the rest of
    `python -m rl_zoo3.record_video --help`.
    """
    _play(record, "record_video", ctx.args, algo, env, folder, exp_id)


def _play(
    command: Callable[..., Any], script: str, arguments: list[str], algo: str, env: str, folder: Path, exp_id: int
) -> None:
    """Run ``script`` on the chosen run, or on the newest that has the wanted model."""
    with one_line_errors(command):
        env_id = zoo.check_names(algo, env, arguments)
        run = zoo.find_run(folder, algo, env_id, exp_id, arguments)
    fixed = ["--algo", algo, "--env", env_id, "--folder", str(folder), "--exp-id", str(run)]
    with one_line_errors(command, (DependencyNotInstalled,)):
        zoo.run_script(script, [*fixed, *arguments])


@app.command()
def evaluate(
    algo: Algo,
    env: Env,
    model: Annotated[Path, typer.Option(help="A saved model (.zip), or the run folder that `train` made.")],
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 20,
    seed: Seed = 0,
    stochastic: Annotated[bool, typer.Option("--stochastic", help="Sample actions.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    allow_wrappers: Annotated[bool, typer.Option(help="Accept an id registered with additional wrappers.")] = False,
) -> None:
    """Evaluate on the official, unmodified environment."""
    with one_line_errors(evaluate):
        algorithm_class(algo)
        environment_id(env)
        path, statistics = evaluation.find_model(model)
        agent = evaluation.load_for_evaluation(algo, path)
        result = evaluation.evaluate(agent, env, episodes, seed, not stochastic, statistics, allow_wrappers)
        result = replace(result, algo=algo, model=str(path))
    typer.echo(result)
    if output is not None:
        result.write(output)


@app.command()
def collect_demos(
    algo: Algo,
    env: Env,
    model: Annotated[Path, typer.Option(help="A saved model (.zip), or the run folder that `train` made.")],
    out: Annotated[Path, typer.Option(help="The .npz to write.")],
    episodes: Annotated[int, typer.Option(help="Number of episodes.")] = 10,
    seed: Seed = 0,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="Not sampled actions.")] = False,
) -> None:
    """Have a trained agent demonstrate: episodes for airl, gail and gan_gcl."""
    from stable_baselines3.common.vec_env import VecNormalize

    from ardae_rl.irl import collect_demonstrations, save_trajectories

    with one_line_errors(collect_demos):
        algorithm_class(algo)
        venv = evaluation.official_env(env, seed, n_episodes=episodes)
        path, statistics = evaluation.find_model(model)
        if statistics is not None:
            venv = VecNormalize.load(str(statistics), venv)
        agent = evaluation.load_for_evaluation(algo, path)
        found = collect_demonstrations(agent, venv, episodes, deterministic)
        save_trajectories(out, found)
    returns = [float(trajectory.rewards.sum()) for trajectory in found if trajectory.rewards is not None]
    typer.echo(f"wrote {out}: {len(found)} episodes, mean return {sum(returns) / len(returns):.2f}")


@app.command()
def plot(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; runs of one algorithm and environment are averaged.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("learning_curves.png"),
    source: Annotated[str, typer.Option(help=f"What to draw: {' or '.join(SOURCES)}.")] = SOURCES[0],
    window: Annotated[int, typer.Option(help="Episodes that a Monitor's curve is averaged over.")] = 20,
) -> None:
    """Draw learning curves: mean and standard deviation over runs."""
    with one_line_errors(plot):
        output.parent.mkdir(parents=True, exist_ok=True)
        learning_curves(runs, source, window).savefig(output, dpi=150)
    typer.echo(f"wrote {output}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the model, the curve and the evaluation.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    timesteps: Annotated[int, typer.Option(help="Environment steps to train for.")] = 5_000,
) -> None:
    """Train SACARDAE on Pendulum-v1, evaluate it, and draw its learning curve."""
    import torch as th

    from ardae_rl.cli.demo import demo as run_demo

    # More threads gain nothing with networks of this size, and lose a lot where other work wants the cores
    th.set_num_threads(1)
    with one_line_errors(demo):
        result = run_demo(out, seed, timesteps)
    typer.echo(result)
    typer.echo(f"wrote {out}/model.zip, {out}/learning_curve.png, {out}/evaluation.json")


@app.command()
def reproduce(
    figure: Annotated[
        str, typer.Argument(help="fig3, figS2, fig4, figS4, fig5, fig7 (AR-DAE's paper), dvbf-pendulum, dvbf-pixels.")
    ],
    budget: Annotated[str, typer.Option(help="quick (minutes) or paper (its numbers of updates: hours).")] = "quick",
    seeds: Annotated[int | None, typer.Option(help="Repetitions; by default as many as the budget has.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes of one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder for the table and the picture.")] = Path("runs/reproduce"),
) -> None:
    """Make a figure of the AR-DAE paper again: its numbers as a table, and the picture.

    An interrupted command goes on where it was. Numbers and verdicts are in docs/reproduction.md.
    """
    run_reproduction = importlib.import_module("experiments.reproduce").reproduce

    with one_line_errors(reproduce, (*USER_ERRORS, RuntimeError)):
        table, picture = run_reproduction(figure, budget, seeds, jobs, out)
    typer.echo(f"wrote {table}, {picture}")


@app.command()
def benchmark(
    suite: Annotated[str, typer.Option(help="mujoco, classic or multigoal.")] = "mujoco",
    algos: Annotated[
        str,
        typer.Option(
            help="sac, sac_nf, sac_ardae, tqc, crossq; sac_ardae-unclamped, -bases4; with another critic sac-simba, ..."
        ),
    ] = "sac,sac_nf,sac_ardae",
    envs: Annotated[str | None, typer.Option(help="Environment ids in place of the suite's, e.g. Hopper-v5.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds 0, 1, ...")] = 5,
    steps: Annotated[int, typer.Option(help="Environment steps of a run.")] = 1_000_000,
    eval_freq: Annotated[int, typer.Option(help="Environment steps between evaluations.")] = 10_000,
    eval_episodes: Annotated[int, typer.Option(help="Episodes of an evaluation.")] = 10,
    jobs: Annotated[int, typer.Option(help="Processes of one thread each.")] = 2,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/benchmark"),
    ray: Annotated[bool, typer.Option("--ray", help="Have Ray schedule the runs, on a cluster or here.")] = False,
    gpus: Annotated[float, typer.Option(help="GPUs of a run, also a fraction; with --ray.")] = 0,
) -> None:
    """Train a grid of algorithms, environments and seeds, evaluated on the unmodified environments.

    An interrupted command goes on where it was. `ardae-rl report` makes tables and curves of what is finished.
    """
    from ardae_rl.grid.grid import benchmark as run_benchmark
    from ardae_rl.runs.tables import print_table

    with one_line_errors(benchmark):
        rows = run_benchmark(
            suite,
            algos.split(","),
            envs.split(",") if envs else None,
            n_seeds=seeds,
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


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="Folder of the runs of `ardae-rl benchmark`.")] = Path("runs/benchmark"),
) -> None:
    """Tables and curves of a benchmark's finished runs: report.md and two pictures beside them."""
    from ardae_rl.grid.report import report as write_report

    with one_line_errors(report):
        path = write_report(out)
    typer.echo(f"wrote {path}")


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
