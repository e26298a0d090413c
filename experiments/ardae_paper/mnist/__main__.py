"""Download MNIST: ``python -m experiments.ardae_paper.mnist data/mnist``."""

import sys
from pathlib import Path

from experiments.ardae_paper.mnist.data import download

if __name__ == "__main__":
    download(Path(sys.argv[1]))
