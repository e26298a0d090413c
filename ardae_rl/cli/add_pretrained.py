"""Add a trained model to the package: ``python -m ardae_rl.cli.add_pretrained NAME --algo ALGO ...``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ardae_rl.pretrained.adding import add_model


def main() -> None:
    """Add a model by the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    for option in ("algo", "env", "model", "command"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--episodes", type=int, default=100)
    options = parser.parse_args()
    arguments = (options.name, options.algo, options.env, Path(options.model), options.command, options.episodes)
    print(add_model(*arguments).summary())


if __name__ == "__main__":
    main()
