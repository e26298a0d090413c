"""List the experiments, or run one: ``python -m experiments run estimator --jobs 2``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ardae_rl.cli.errors import USER_ERRORS, one_line_errors
from experiments.catalog import EXPERIMENTS, load, summary_line
from experiments.figure import RUNS, run_experiment
from experiments.options import defaults

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The experiments behind the tables and figures.")


@app.command("list")
def list_experiments() -> None:
    """List the experiments, their budgets with the numbers of seeds, and their options."""
    for name in EXPERIMENTS:
        figure = load(name)
        typer.secho(name, bold=True)
        typer.echo(f"    {summary_line(name)}")
        budgets = (f"{budget} ({n} seed{'s' * (n > 1)})" if n else budget for budget, n in figure.seeds.items())
        typer.echo(f"    budgets: {', '.join(budgets)}")
        options = defaults(figure.runs)
        if options:
            typer.echo(f"    options: {' '.join(f'{option}={_text(value)}' for option, value in options.items())}")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of the experiment; `list` shows them.")],
    budget: Annotated[
        str, typer.Option(help="smoke (seconds: does it run?), quick (minutes to hours) or paper (the paper's sizes).")
    ] = "quick",
    n_seeds: Annotated[int | None, typer.Option("--seeds", help="Seeds 0, 1, ...; by default the budget's.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes of one thread each; by default 2.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of table and plot; the committed ones are in experiments/results.")
    ] = RUNS,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the experiment; repeatable.")
    ] = None,
) -> None:
    """Execute the missing runs of an experiment, then write its table and its plot.

    Finished runs are skipped; interrupted ones resume if the experiment has checkpoints, and start over otherwise.
    """
    with one_line_errors(run, (*USER_ERRORS, RuntimeError)):
        written = run_experiment(name, budget, n_seeds, jobs, out, options or ())
    for path in written:
        typer.echo(f"wrote {path}")


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


if __name__ == "__main__":
    app(prog_name="python -m experiments")
