"""Add a trained model to the package: ``python -m ardae_rl.cli.add_pretrained NAME --algo ALGO ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ardae_rl.cli.errors import one_line_errors
from ardae_rl.pretrained.adding import add_model


def main(
    name: Annotated[str, typer.Argument(help="Name of the model in the package.")],
    algo: Annotated[str, typer.Option(help="Name of its algorithm.")],
    env_id: Annotated[str, typer.Option("--env", help="Id of its environment.")],
    path: Annotated[Path, typer.Option("--model", help="The .zip, or the folder of its run.")],
    command: Annotated[str, typer.Option(help="Command that trained it.")],
    n_episodes: Annotated[int, typer.Option("--episodes", help="Number of episodes of the evaluation.")] = 100,
) -> None:
    """Add a trained model to the package."""
    with one_line_errors(main):
        typer.echo(add_model(name, algo, env_id, path, command, n_episodes).summary())


if __name__ == "__main__":
    typer.run(main)
