"""The agent that a command uses: one from a run, or a pretrained one that comes with the package."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl import evaluation
from ardae_rl.cli.env_kwargs import parsed
from ardae_rl.pretrained.catalog import PretrainedModel, find_pretrained
from ardae_rl.registry import algorithm_class, environment_id, folder_name

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
                raise ValueError(f"Missing option '`{name}`' (not needed with `pretrained`)")
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


class ChosenAgent(NamedTuple):
    """The agent of a command, and the environment for it.

    :param name: Name of the pretrained model, or path of the file.
    :param algo: Name of the algorithm.
    :param env_id: Id of the environment.
    :param file: The zip.
    :param statistics: The file of VecNormalize, if there is one.
    :param env_kwargs: Arguments of the environment.
    """

    name: str
    algo: str
    env_id: str
    file: Path
    statistics: Path | None
    env_kwargs: dict[str, Any]

    def load(self) -> BaseAlgorithm:
        """Return the agent, for prediction only."""
        return evaluation.load_for_evaluation(self.algo, self.file)


def chosen(
    pretrained: str | None, algo: str | None, env_id: str | None, path: Path | None, env_kwargs: list[str] | None
) -> ChosenAgent:
    """Return the agent that the options of a command choose.

    :param pretrained: Name of a pretrained model, which replaces the following three.
    :param algo: Name of the algorithm.
    :param env_id: Id of the environment.
    :param path: Path of the zip, or of the folder of a run.
    :param env_kwargs: Arguments of the environment, NAME:VALUE; by default those used in training.
    :raises ValueError: If an option is missing, contradicts another one, or names nothing.
    """
    model = described(pretrained, algo=algo, env_id=env_id, path=path)
    if model is not None:
        agent = ChosenAgent(model.name, model.algo, model.env_id, model.file(), None, model.env_kwargs)
    else:
        assert algo is not None and env_id is not None and path is not None
        algorithm_class(algo)
        environment_id(env_id)
        file, statistics = evaluation.find_model(path)
        agent = ChosenAgent(str(file), algo, env_id, file, statistics, evaluation.trained_env_kwargs(path))
    return agent if env_kwargs is None else agent._replace(env_kwargs=parsed(env_kwargs))


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
