"""The agent that a command uses: one from a run, or a pretrained one that comes with the package."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ardae_rl import evaluation
from ardae_rl.pretrained.catalog import PretrainedModel, find_pretrained
from ardae_rl.registry import folder_name

Pretrained = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A trained model that comes with the package; `ardae-rl models` lists them."),
]


def described(pretrained: str | None, **given: Any) -> PretrainedModel | None:
    """Return the model of the option ``--pretrained``, or None without it, after checking the other options.

    :param pretrained: Name of the model.
    :param given: The other options. Without ``--pretrained``, all are required; with it, they must agree with the model
        or be None.
    :raises ValueError: If an option is missing or contradicts the model.
    """
    if pretrained is None:
        for name, value in given.items():
            if value is None:
                raise ValueError(f"Missing option '`{name}`', which only `pretrained` can replace")
        return None
    model = find_pretrained(pretrained, "pretrained")
    own = {"algo": model.algo, "env_id": model.env_id}
    for name, value in given.items():
        if value is not None and value != own.get(name):
            wanted = repr(own[name]) if name in own else "left out"
            raise ValueError(f"`{name}` must be {wanted} with the model {pretrained!r}, got {str(value)!r}")
    return model


def check_left_out(pretrained: str | None, **given: Any) -> None:
    """Check that the options that choose a run are None, because a pretrained model is in no run.

    :param pretrained: Name of the model.
    :param given: The options.
    :raises ValueError: If an option is not None.
    """
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"`{name}` must be left out with the model {pretrained!r}, got {str(value)!r}")


def model_file(path: Path) -> tuple[Path, Path | None, dict[str, Any]]:
    """Return the file of a run's model, its VecNormalize file if there is one, and its environment's arguments."""
    return *evaluation.find_model(path), evaluation.trained_env_kwargs(path)


@contextmanager
def as_run(model: PretrainedModel) -> Iterator[tuple[Path, list[str]]]:
    """Yield a log folder in RL Zoo's layout with the model as run 1, and options for its environment's arguments."""
    name = folder_name(model.env_id)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / model.algo / f"{name}_1"
        run.mkdir(parents=True)
        shutil.copy2(model.file(), run / f"{name}.zip")
        kwargs = [f"{key}:{value!r}" for key, value in model.env_kwargs.items()]
        yield Path(folder), ["--env-kwargs", *kwargs] if kwargs else []
