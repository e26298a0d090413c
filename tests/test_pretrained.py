"""Trained models: intact, as good as their descriptions say, and to be added and shared."""

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ardae_rl import AIRL
from ardae_rl.cli import add_pretrained
from ardae_rl.cli.main import app
from ardae_rl.evaluation import evaluate
from ardae_rl.irl import load_trajectories
from ardae_rl.pretrained import load_from_hub, load_pretrained, pretrained_models, push_to_hub
from ardae_rl.pretrained.adding import add_model
from ardae_rl.pretrained.catalog import FOLDER, checksum
from tests.conftest import Command, untrained

NAMES = sorted(pretrained_models())
NAME = "sac_ardae-pendulum"


@pytest.mark.parametrize("name", NAMES)
def test_first_episodes_are_those_of_the_description(name: str) -> None:
    description = pretrained_models()[name]
    model = load_pretrained(name)
    result = evaluate(model, description.env_id, 4, env_kwargs=description.env_kwargs)
    # Rounding differs between machines; sampled actions change one of these returns by 0.7
    assert result.returns == pytest.approx(description.evaluation["returns"][:4], abs=0.5)
    assert description.command.startswith(("ardae-rl ", "python -m experiments run "))


def test_learned_reward() -> None:
    """It comes with the model, and is higher for an upright pendulum than for one that hangs or turns fast."""
    model = load_pretrained("airl-pendulum")
    assert isinstance(model, AIRL)
    observations = np.array([[1, 0, 0], [-1, 0, 0], [1, 0, 4]], np.float32)
    upright, *others = model.reward_net.predict(observations, np.zeros((3, 1)), observations, np.zeros(3, bool))
    assert upright > max(others) + 1


def test_models_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.zip")) < 25 * 2**20


def test_damage_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / NAME, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "model.zip").open("ab") as file:
        file.write(b" ")
    for use in (load_from_hub, lambda folder: push_to_hub(folder, str(tmp_path))):
        with pytest.raises(ValueError, match=r"`name` must be a model whose file is intact"):
            use(str(tmp_path))


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of '.*sac_ardae-pendulum.*', got 'no'"):
        load_pretrained("no")


def test_adding(tmp_path: Path) -> None:
    model = untrained("sac", learning_starts=10).learn(15)
    model.save(tmp_path / "trained.zip")
    added = add_model("mine", "sac", "Pendulum-v1", tmp_path / "trained.zip", "ardae-rl train", 1, tmp_path)
    assert added.sha256 == checksum(tmp_path / "mine/model.zip")
    assert (tmp_path / "mine/model.zip").stat().st_size < (tmp_path / "trained.zip").stat().st_size
    observation = np.ones(3, np.float32)
    agents = (model, added.load(tmp_path / "mine/model.zip"))
    first, second = (agent.predict(observation, deterministic=True)[0] for agent in agents)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("n_episodes", "env_id", "words"),
    [(0, "Pendulum-v1", "`n_episodes` must be >= 1"), (1, "NoSuch-v1", "NoSuch"), (1, "CartPole-v1", "space")],
)
def test_adding_in_vain_leaves_the_model_as_it_was(tmp_path: Path, n_episodes: int, env_id: str, words: str) -> None:
    good = tmp_path / "models/good"
    shutil.copytree(FOLDER / NAME, good)
    before = {path.name: checksum(path) for path in good.iterdir()}
    untrained("sac").save(tmp_path / "trained.zip")
    with pytest.raises(Exception, match=words):
        add_model("good", "sac", env_id, tmp_path / "trained.zip", "ardae-rl train", n_episodes, good.parent)
    assert {path.name: checksum(path) for path in good.iterdir()} == before
    assert [path.name for path in good.parent.iterdir()] == ["good"]


@pytest.mark.parametrize("text", ['{"colour": 1}', "[1]", '{"name": "sac'])
def test_a_description_of_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"`folder` must have a model.json written by this package, got {path}"):
        load_from_hub(str(tmp_path))


def test_hub_is_called_with_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub with a folder a commit, behind the functions of huggingface_sb3. Another commit comes amid the download."""
    first, second = tmp_path / "snapshots/first", tmp_path / "snapshots/second"
    for folder in (first, second):
        folder.mkdir(parents=True)
    (second / "model.zip").write_bytes(b"another model")

    def upload(repo_id: str, filename: str, commit_message: str) -> None:
        shutil.copy2(filename, first / Path(filename).name)

    def download(repo_id: str, name: str, revision: str = "second") -> str:
        return str(tmp_path / "snapshots" / revision / name)

    def download_newest(repo_id: str, name: str) -> str:
        return download(repo_id, name, "first" if name == "model.json" else "second")

    hub: Any = SimpleNamespace(push_to_hub=upload, load_from_hub=download_newest)
    monkeypatch.setitem(sys.modules, "huggingface_sb3", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub", cast(Any, SimpleNamespace(hf_hub_download=download)))
    push_to_hub(FOLDER / NAME, "user/name")
    assert load_from_hub("user/name").num_timesteps == load_pretrained(NAME).num_timesteps


def test_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["models"])
    assert NAME in listed.stdout and "mean return -" in listed.stdout
    evaluated = run(app, ["evaluate", "--pretrained", NAME, "--episodes", "1"])
    assert "Pendulum-v1, 1 episodes" in evaluated.stdout
    for arguments, words in (
        (["--pretrained", "no"], "--pretrained must be one of"),
        ([], "Missing option '--algo' (not needed with --pretrained)"),
        (["--pretrained", NAME, "--env", "Hopper-v5"], "--env must be 'Pendulum-v1'"),
        (["--pretrained", NAME, "--algo", "sac"], "--algo must be 'sac_ardae'"),
    ):
        refused = run(app, ["evaluate", *arguments])
        assert refused.exit_code == 2 and words in refused.stderr, refused.stderr


def test_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pretrained agent demonstrates in its own environment."""
    monkeypatch.chdir(tmp_path)
    options = ["collect-demos", "--pretrained", NAME, "--episodes", "1", "--env-kwargs", "max_episode_steps:7"]
    done = CliRunner().invoke(app, [*options, "--out", "demos.npz"])
    assert done.exit_code == 0, done.output
    (trajectory,) = load_trajectories("demos.npz")
    assert not isinstance(trajectory.observations, dict)
    assert len(trajectory.actions) == 7 and trajectory.observations.shape == (8, 3)
    refused = CliRunner().invoke(app, ["collect-demos", "--out", "other.npz"])
    assert refused.exit_code == 2 and "Missing option '--algo' (not needed with --pretrained)" in refused.stderr


@pytest.mark.slow
def test_video(ardae_rl: Command, tmp_path: Path) -> None:
    done = ardae_rl("record", "--pretrained", NAME, "-n", 20, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.mp4"))


def test_adding_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as stop:
        add_pretrained.main("new", "sac_ardae", "Pendulum-v1", tmp_path / "no.zip", "ardae-rl train")
    assert stop.value.exit_code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --model must be a .zip")
