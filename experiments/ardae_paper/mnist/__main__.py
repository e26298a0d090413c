"""Download MNIST: ``python -m experiments.ardae_paper.mnist data/mnist``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.ardae_paper.mnist.data import download


def main(arguments: Sequence[str] | None = None) -> None:
    """Download the files into the folder that is given.

    :param arguments: Arguments of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser("python -m experiments.ardae_paper.mnist", description="Download MNIST.")
    parser.add_argument("folder", type=Path, help="folder for the IDX files")
    download(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
