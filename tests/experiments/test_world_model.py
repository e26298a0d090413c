"""World models that several runs share."""

import threading
from pathlib import Path
from typing import Any

import pytest

from ardae_rl.runs.files import FolderInUseError, locked
from ardae_rl.world_models import WorldModels
from experiments import world_model
from experiments.catalog import load
from experiments.world_model import finished_model
from tests.world_models.test_world_models import model


def test_runs_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second loads what the first has made."""
    monkeypatch.setattr(world_model, "make_model", lambda settings, folder: model(folder))
    made = finished_model({}, tmp_path)
    finished: list[WorldModels] = []
    waits = threading.Thread(target=lambda: finished.append(finished_model({}, tmp_path)))
    with locked(tmp_path):
        with pytest.raises(FolderInUseError):
            made.train_vision()
        waits.start()
        waits.join(0.5)
        assert not finished
    waits.join()
    assert len(finished) == 1 and finished[0].num_timesteps == made.num_timesteps


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("dream_temperature", {"arguments": ("search_kwargs.n_generations=2",)}),
        ("world_model_ablation", {"arguments": ("memory_kwargs.n_steps=3", "n_envs=4")}),
        ("latent_control", {"folder": "elsewhere"}),
    ],
)
def test_other_options_have_other_folders_and_rows(name: str, option: dict[str, Any]) -> None:
    """Without them, the folder of the run with the default options would refuse them."""
    experiment = load(name)
    usual, other = experiment.runs("smoke", 1), experiment.runs("smoke", 1, **option)
    names = [{run["name"] for run in runs} | {run["needs"]["name"] for run in runs} for runs in (usual, other)]
    if name == "latent_control":  # whose smallest budget trains a world model of its own
        names = [{run["name"] for run in runs} for runs in (usual, other)]
    assert not names[0] & names[1]
    (column,) = option
    assert column in experiment.key and usual[0][column] != other[0][column]
