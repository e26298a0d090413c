"""`ardae-rl world-model` and its video."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from typer.testing import CliRunner

from ardae_rl.cli import world_model
from ardae_rl.environments import EnvDescription
from ardae_rl.runs.files import locked
from ardae_rl.world_models import WorldModels
from ardae_rl.world_models.film import film
from ardae_rl.world_models.policies import WorldModelPolicy
from tests.conftest import untrained

TINY = {
    "n_timesteps": 100,
    "n_episodes": 2,
    "n_envs": 2,
    "vision_kwargs.n_steps": 2,
    "memory_kwargs.n_steps": 2,
    "memory_kwargs.sequence_length": 10,
    "search_kwargs.population_size": 3,
    "search_kwargs.seeds_per_generation": 1,
    "search_kwargs.n_held_out": 1,
    "search_kwargs.patience": 5,
    "n_workers": 0,
}


@pytest.mark.slow
def test_stages_and_evaluation(ardae_rl: Any, tmp_path: Path) -> None:
    """Run one stage, then all of them: the first stage's work is not repeated."""
    settings = [text for name, value in TINY.items() for text in ("--set", f"{name}={value}")]
    first = ardae_rl("world-model", "vision", *settings)
    assert first.returncode == 0 and "validation_error" in first.stdout, first.stderr
    checkpoint = tmp_path / "runs/world_models/CarRacing-v3/round_0/vision.pt"
    written = checkpoint.stat().st_mtime_ns
    whole = ardae_rl("world-model", "train", "--episodes", 2, *settings)
    assert whole.returncode == 0 and "CarRacing-v3, 2 episodes" in whole.stdout, whole.stderr
    assert checkpoint.stat().st_mtime_ns == written
    rows = (tmp_path / "runs/world_models/CarRacing-v3/evaluation.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows] == ["seed", "10000", "10001"]
    assert (tmp_path / "runs/world_models/CarRacing-v3/evaluation.json").exists()
    for name in ("dream.mp4", "learning.png", "round_0/vision.csv", "round_0/memory.csv", "round_0/controller.csv"):
        assert (tmp_path / "runs/world_models/CarRacing-v3" / name).exists(), name
    again = ardae_rl(
        "world-model", "collect", "--set", "n_episodes=3", "--folder", tmp_path / "runs/world_models/CarRacing-v3"
    )
    assert again.returncode == 0 and again.stdout.count("3 episodes") == 1, again.stderr


@pytest.mark.slow
def test_dreams_of_take_cover(ardae_rl: Any, tmp_path: Path) -> None:
    """The pipeline of the paper: data, vision, memory, a controller from dreams alone, the game itself, a video."""
    searched = {"search": "dream", "search_kwargs.n_generations": 2, "search_kwargs.temperature": 1.15}
    dreams = searched | {"n_episodes": 4, "vision_kwargs.n_steps": 20}
    settings = [text for name, value in {**TINY, **dreams}.items() for text in ("--set", f"{name}={value}")]
    done = ardae_rl("world-model", "train", "--env", "ardae/TakeCover-v0", "--episodes", 2, *settings)
    assert done.returncode == 0 and "ardae/TakeCover-v0, 2 episodes" in done.stdout, done.stderr
    assert (tmp_path / "runs/world_models/ardae-TakeCover-v0/dream.mp4").exists()


@pytest.mark.slow
def test_budget(ardae_rl: Any, tmp_path: Path) -> None:
    """The time budget ends the search before the number of steps does."""
    values = {**TINY, "n_timesteps": 10**8, "search_kwargs.evaluate_every": 1000}
    settings = [text for name, value in values.items() for text in ("--set", f"{name}={value}")]
    done = ardae_rl("world-model", "train", "--episodes", 1, "--budget", "1s", *settings)
    assert done.returncode == 0 and "CarRacing-v3, 1 episodes" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vision", "--set", "sizes"], "--set must have the form NAME=VALUE, got 'sizes'"),
        (["vision", "--set", "size=3"], "unexpected keyword argument 'size'"),
        (["vision", "--set", "seed=3"], "multiple values for keyword argument 'seed'"),
        (["vision", "--set", "n_timesteps=many"], "`n_timesteps` must be a number, got 'many'"),
        (["vision", "--set", "memory_kwargs.n_steps=many"], "`memory_kwargs['n_steps']` must be a number, got 'many'"),
        (["vision", "--set", "n_timesteps=.inf"], "`n_timesteps` must be finite, got inf"),
        (["vision", "--set", "search_kwargs=3"], "`search_kwargs` must be a dictionary, got 3"),
        (["vision", "--set", "device=gpu"], "`device` must be auto or a PyTorch device, such as cpu or"),
        (["vision", "--env", "CarRacing-v33"], "--env must be registered with Gymnasium, got 'CarRacing-v33'"),
        (["vision", "--preset", "huge"], "--preset must be one of 'ppo', got 'huge'"),
        (
            ["train", "--budget", "1 hour"],
            "--budget must be a positive number with a unit of s, m or h, such as 90m, got '1 hour'",
        ),
        (["dream"], "--folder must be one that `ardae-rl world-model train` wrote"),
        (["train", "--episodes", "0"], "--episodes must be >= 1, got 0"),
        (["train", "--set", "n_episodes=0"], "`n_episodes` must be"),
        (["evaluate", "--seed", "-1"], "--seed must be between 0 and 4294967295, got -1"),
    ],
)
def test_errors_in_one_line(arguments: list[str], message: str, ardae_rl: Any) -> None:
    done = ardae_rl("world-model", *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


def test_model_of_another_algorithm(tmp_path: Path) -> None:
    untrained("sac", seed=0).save(tmp_path / "model")
    done = CliRunner().invoke(world_model.app, ["dream", "--folder", str(tmp_path)])
    assert done.exit_code == 2 and "has a SACPolicy" in done.stderr
    assert done.stderr.startswith("error: --folder must have a model of world_models")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "--episodes", "2"], "evaluation: episodes: 2 of 2, "),
        (["dream", "--steps", "3"], "film: decisions: 3 of 3, "),
    ],
)
def test_progress(arguments: list[str], line: str, tmp_path: Path) -> None:
    """Without a terminal, the bar is a line at the end."""
    small = {"z_dim": 4, "vision_width": 4, "memory_hidden": 8}
    WorldModels("CnnPolicy", "CarRacing-v3", policy_kwargs=small, seed=0, device="cpu").save(tmp_path / "model")
    short = ["--folder", str(tmp_path), "--env-kwargs", "max_episode_steps:40"]
    done = CliRunner().invoke(world_model.app, [*arguments, *short])
    assert done.exit_code == 0, done.output
    assert line in done.stdout


@pytest.mark.parametrize("env_id", [None, "Pendulum-v1", "ardae_envs:Pendulum-v1"])
def test_arguments_of_the_training_are_kept(env_id: str | None) -> None:
    model: Any = SimpleNamespace(env_description=EnvDescription.of_id("Pendulum-v1", {"g": 2.0}))
    assert world_model._evaluation_env(model, env_id, None)[1] == {"g": 2.0}
    assert world_model._evaluation_env(model, "Acrobot-v1", None)[1] == {}
    assert world_model._evaluation_env(model, env_id, ["g:3.0"])[1] == {"g": 3.0}


def configured(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> WorldModels:
    """Return the model with which ``world-model train`` or ``controller`` would start the training."""
    models: list[WorldModels] = []

    def learn(model: WorldModels, *_: Any) -> Path:
        models.append(model)
        raise ValueError("not trained")

    monkeypatch.setattr(world_model, "_learn", learn)
    done = CliRunner().invoke(world_model.app, arguments)
    assert done.stderr == "error: not trained\n", done.output
    return models[0]


@pytest.mark.parametrize("name", ["train", "controller"])
def test_arguments_of_the_environment_reach_the_training(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environments for collection and search have them, too."""
    options = ["--env-kwargs", "lap_complete_percent:0.5", "--env-kwargs", "max_episode_steps:9"]
    model = configured(monkeypatch, name, "--folder", str(tmp_path), *options)
    env: Any = model.env
    assert env.get_attr("lap_complete_percent") == [0.5]
    sources = [model.env_description, model._collection_env(), model._search_env()]
    kwargs = [source.kwargs for source in sources if isinstance(source, EnvDescription)]
    assert kwargs == [{"lap_complete_percent": 0.5, "max_episode_steps": 9}] * 3


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        ([], "CarRacing-v3"),
        (["--env", "CarRacing-v3"], "CarRacing-v3"),
        (["--env", "ardae/TakeCover-v0"], "ardae-TakeCover-v0"),
        (["--env", "ardae_envs:ardae/TakeCover-v0"], "ardae-TakeCover-v0"),
    ],
)
def test_default_folder(arguments: list[str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same for all commands, and differs between environments."""
    monkeypatch.chdir(tmp_path)
    path = Path("runs/world_models") / folder
    assert configured(monkeypatch, "train", *arguments).folder == path
    for name in ("evaluate", "dream"):
        done = CliRunner().invoke(world_model.app, [name, *arguments])
        assert f"got {path} without model.zip" in done.stderr


def test_help_says_which_arguments_are_the_defaults() -> None:
    for name, default in (("train", "that the id is registered with"), ("evaluate", "used in training")):
        text = CliRunner().invoke(world_model.app, [name, "--help"], env={"COLUMNS": "300"}).output
        assert f"By default those {default}." in text


def test_two_commands_in_one_folder(ardae_rl: Any, tmp_path: Path) -> None:
    with locked(tmp_path / "here"):
        done = ardae_rl("world-model", "collect", "--folder", "here")
    assert done.returncode == 2
    assert "error: another process is working in here" in done.stderr and "Traceback" not in done.stderr


def test_film(tmp_path: Path) -> None:
    th.manual_seed(0)
    env = gym.make("CarRacing-v3")
    policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    path = film(policy, "CarRacing-v3", tmp_path / "videos" / "dream.mp4", n_steps=5)
    from moviepy import VideoFileClip

    with VideoFileClip(str(path)) as clip:
        assert clip.size == [3 * 256, 256]
        frame = clip.get_frame(0)
    seen = policy.preprocess(env.reset(seed=0)[0][None])[0].repeat(4, 0).repeat(4, 1)
    assert np.abs(frame[:, :256].astype(float) - seen).mean() < 10, "the first image is what the policy sees"
