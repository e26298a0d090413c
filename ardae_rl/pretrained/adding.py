"""Add a trained model to the package."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch as th

from ardae_rl.common.checks import check_count
from ardae_rl.environments import EnvDescription
from ardae_rl.evaluation import evaluate, find_model, load_for_evaluation, trained_env_kwargs
from ardae_rl.pretrained.catalog import FOLDER, PretrainedModel, checksum


def add_model(
    name: str, algo: str, env_id: str, path: Path, command: str, n_episodes: int = 100, folder: Path = FOLDER
) -> PretrainedModel:
    """Copy a model without its optimizer state, evaluate the copy, and write its description.

    An existing model of the same name is replaced only at the end, so that an error leaves it unchanged.

    :param name: Name of the model.
    :param algo: Name of its algorithm.
    :param env_id: Id of its environment.
    :param path: Path of the .zip, or of the folder of an RL Zoo run.
    :param command: Command that trained it.
    :param n_episodes: Number of episodes of the evaluation.
    :param folder: Folder of the models.
    :raises ValueError: If the model is of another algorithm or has normalized observations, ``n_episodes`` is less than
        1, or the environment cannot be made.
    """
    check_count("n_episodes", n_episodes)
    file, statistics = find_model(path)
    if statistics is not None:
        raise ValueError(
            f"`path` must be a model without VecNormalize, whose statistics are not part of the .zip, got {path}"
        )
    env_kwargs = trained_env_kwargs(path)
    EnvDescription.of_id(env_id, env_kwargs).make().close()
    model = load_for_evaluation(algo, file)
    for part in _optimizers(model):
        part.state.clear()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:  # on the same disk, so that moves are atomic
        target = Path(temporary) / "model.zip"
        model.save(target)
        result = evaluate(load_for_evaluation(algo, target), env_id, n_episodes, env_kwargs=env_kwargs)
        record = asdict(replace(result, algo=algo, model=target.name))
        description = PretrainedModel(name, algo, env_id, env_kwargs, command, checksum(target), record)
        description.write(target.parent)
        (folder / name).mkdir(exist_ok=True)
        for path in (target, target.with_suffix(".json")):
            path.replace(folder / name / path.name)
    return description


def _optimizers(model: Any) -> list[th.optim.Optimizer]:
    """Return the optimizers that SB3 saves with a model."""
    names, _ = model._get_torch_save_params()
    found = []
    for name in names:
        part = model
        for attribute in name.split("."):
            part = getattr(part, attribute)
        if isinstance(part, th.optim.Optimizer):
            found.append(part)
    return found
