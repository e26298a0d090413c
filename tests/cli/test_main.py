"""The command: names, errors, and RL Zoo's scripts with runs of a few hundred steps."""

import json
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecVideoRecorder
from typer.testing import CliRunner

from ardae_rl.cli import zoo
from ardae_rl.cli.main import app
from ardae_rl.irl import AIRL, Trajectory, load_trajectories, save_trajectories
from tests.conftest import Command, untrained

TINY = ("-n", 250, "--eval-freq", -1, "--no-progress", "--seed", 1)
SMALL = {
    "sac": ("-params", "learning_starts:200", "policy_kwargs:dict(net_arch=[8])"),
    "ppo": ("-params", "n_envs:1", "n_steps:100", "batch_size:50", "n_epochs:1"),
    "sac_ardae": ("-params", "learning_starts:200"),
    "sac_nf": ("-params", "learning_starts:200"),
}

SAC = ("--algo", "sac", "--env", "Pendulum-v1", "--model", "sac.zip")
ALGO = ("--algo", "sac", "--env", "Pendulum-v1")
TRAIN = ("train", *ALGO, "-n", "10")
PRETRAINED = ("--pretrained", "sac_ardae-pendulum")
EVALUATE, COLLECT = ("evaluate", *SAC), ("collect-demos", *SAC)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--algo", "sac_ardae", "--env", "Hoper-v5"), ["--env", "'Hoper-v5'", "Hopper-v5"]),
        (("train", "--algo", "sac_ardea", "--env", "Hopper-v5"), ["--algo", "'sac_ardea'", "sac_ardae", "ppo"]),
        (("train", "--algo", "sac_ardae", "--env", "Hopper-v5", "--preset", "x"), ["--preset", "'x'", "'paper'"]),
        (("train", "--algo", "sac", "--env", "x:Y-v0"), ["--env must start with a module to import", "'x:Y-v0'"]),
        (("train", "--algo", "sac", "--env", "Y-v0", "--gym-packages", "no_such"), ["--gym-packages", "'no_such'"]),
        (("record", "--algo", "sac", "--env", "Pendulum-v1"), ["--folder", "logs/sac", "train one first"]),
        (("enjoy", "--algo", "sac", "--env", "Pendulum-v1", "--no-render"), ["--folder", "logs/sac"]),
        (("evaluate", "--algo", "sac", "--env", "Pendulm-v1", "--model", "m.zip"), ["--env", "Pendulum-v1"]),
        (("evaluate", "--algo", "no", "--env", "Pendulum-v1", "--model", "m.zip"), ["--algo", "'no'", "sac_ardae"]),
        (
            ("evaluate", "--algo", "sac", "--env", "Pendulum-v1", "--model", "m.zip"),
            ["--model must be a .zip", "m.zip"],
        ),
        (("train", "--algo", "airl", "--env", "Pendulum-v1"), ["--demos must be given", "collect-demos", "minari:ID"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "no.npz"), ["no.npz", "minari:ID"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "--demos", "d.npz"), ["--demos", "sac", "airl"]),
        (("plot", "nowhere"), ["RUNS must be folders", "nowhere"]),
        (("demo", "--timesteps", "10"), ["--timesteps", "10", "200"]),
        (("train", "--algo", "dvbf", "--env", "Pendulum-v1", "-optimize"), ["--algo must be one of", "'dvbf'"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "-f", "file/logs"), ["-f must be a folder", "file/logs"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "--track"), ["--track", "pip install wandb"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "--sede", "1"), ["--sede", "--seed"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "-params", "ent_coef:auto"), ["-params", "ent_coef:auto"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "empty.npz"), ["--demos", "empty.npz"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "text.npz"), ["--demos", "text.npz"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "cut.npz"), ["--demos", "cut.npz"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "object.npz"), ["--demos", "object.npz"]),
        (
            ("train", "--algo", "gail", "--env", "Pendulum-v1", "--demos", "other.npz"),
            ["demonstrations[0].observations", "(3,)", "(2,)"],
        ),
        (("evaluate", "--algo", "sac", "--env", "Pendulum-v1", "--model", "text.zip"), ["text.zip"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "-n", "0"), ["-n must be >= 1", "got 0"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "-n", "-5"), ["-n must be >= 1", "got -5"]),
        (
            ("train", "--algo", "sac", "--env", "Pendulum-v1", "--n-timesteps=-1"),
            ["--n-timesteps must be >= 1, got -1"],
        ),
        (("enjoy", "--algo", "sac", "--env", "Pendulum-v1", "--no-render", "-n", "0"), ["-n must be >= 1"]),
        (("record", "--algo", "sac", "--env", "Pendulum-v1", "-n", "-5"), ["-n must be >= 1", "got -5"]),
        (("record", "--algo", "sac", "--env", "Pendulum-v1", "-o", "file/x"), ["-o must be a folder", "file/x"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "--conf", "my.yml"), ["--conf", "--conf-file"]),
        (("train", "--algo", "bc", "--env", "Pendulum-v1", "--demos", "d.npz", "--optimize"), ["--optimize"]),
        ((*EVALUATE, "--output", "file/x.json"), ["--output must be a file", "file/x.json"]),
        ((*EVALUATE, "--output", "."), ["--output must be a file", "is a folder"]),
        ((*EVALUATE, "--seed", "-1"), ["--seed must be between 0 and 4294967295, got -1"]),
        ((*COLLECT, "--out", "file/d.npz"), ["--out must be a file", "file/d.npz"]),
        ((*COLLECT, "--out", "d.npz", "--seed", "-1"), ["--seed must be between 0 and 4294967295, got -1"]),
        (("record", *PRETRAINED, "-f", "nowhere"), ["--folder must be left out with the model", "'nowhere'"]),
        (("record", *PRETRAINED, "--exp-id", "7"), ["--exp-id must be left out with the model", "'7'"]),
        (("enjoy", *PRETRAINED, "--no-render", "--load-best"), ["--load-best must be left out with the model"]),
        (("train", *ALGO, "--device", "foo"), ["--device must be auto or a PyTorch device", "'foo'"]),
        (("train", *ALGO, "-i", "missing.zip"), ["-i must be the .zip of a saved model", "missing.zip"]),
        (("train", *ALGO, "-conf", "file"), ["-conf must be a .yml or .py file, or a module", "'file'"]),
        (("train", *ALGO, "-conf", "no_such"), ["-conf must be a .yml or .py file, or a module", "'no_such'"]),
        (
            ("train", *ALGO, "-conf", "short.yml"),
            ["-conf must have n_timesteps for Pendulum-v1", "short.yml", "policy"],
        ),
        (("train", *ALGO, "-conf", "list.yml"), ["-conf must have a block of hyper-parameters", "list.yml"]),
        (("train", *ALGO, "-conf", "broken.yml"), ["-conf must be a file in YAML", "broken.yml"]),
        ((*EVALUATE, "--env-kwargs", "max_episode_steps:'a'"), ["--env-kwargs must have a positive integer", "'a'"]),
        (("benchmark", "--envs", "Pendulum-v1", "--ray", "--gpus", "-1"), ["--gpus must be >= 0, got -1"]),
        (("benchmark", "--envs", "Foo-v1"), ["--envs must be registered with Gymnasium", "'Foo-v1'"]),
        (("train", "--algo", "gail", "--env", "Pendulum-v1", "--preset", "dac", "--demos", "d.npz"), ["--env must be"]),
        (("plot", "nowhere", "-o", "file/x.png"), ["--output must be a file to write", "file/x.png"]),
        (("demo", "--seed", "-1"), ["--seed must be between 0 and 4294967295, got -1"]),
        (("train", "--algo", "sac", "--env", "Pendulum-v1", "-fmylogs"), ["unrecognized arguments: -fmylogs"]),
        (
            ("train", "--algo", "dvbf", "--env", "Pendulum-v1", "-n", "10", "--optimize-hyperparameters"),
            ["--algo must be", "'dvbf'"],
        ),
        ((*TRAIN, "-tb", "file/x"), ["-tb must be a folder, got file/x"]),
        ((*TRAIN, "--tensorboard-log", "file/x"), ["-tb must be a folder, got file/x"]),
        ((*TRAIN, "--optimization-log-path=file/x"), ["--optimization-log-path must be a folder, got file/x"]),
        ((*TRAIN, "-optimize", "--storage", "nonsense"), ["--storage must be the URL", "got 'nonsense'"]),
        ((*TRAIN, "-optimize", "--storage", "sqlite:///file/x.db"), ["--storage must be the URL", "x.db'"]),
        ((*TRAIN, "-optimize", "--storage=file/x.log"), ["--storage must be a file to write, got file/x.log"]),
        ((*TRAIN, "--log-interval", "0"), ["--log-interval must be positive, -1 for", "got 0"]),
        ((*TRAIN, "-optimize", "--n-jobs=0"), ["--n-jobs must be positive, or -1 for", "got 0"]),
        ((*TRAIN, "-optimize", "--n-evaluations", "0"), ["--n-evaluations must be >= 1, got 0"]),
        ((*TRAIN, "-optimize", "--n-trials", "-1"), ["--n-trials must be >= 1, got -1"]),
        ((*TRAIN, "--n-eval-envs", "0"), ["--n-eval-envs must be >= 1, got 0"]),
        (("record", *ALGO, "--n-envs", "0"), ["--n-envs must be >= 1, got 0"]),
        ((*TRAIN, "-params", "n_envs:0"), ["error: -params n_envs must be >= 1, got 0"]),
        ((*TRAIN, "-params", "n_timesteps:0"), ["error: -params n_timesteps must be >= 1, got 0"]),
        ((*TRAIN, "-params", "frame_stack:0"), ["error: -params frame_stack must be >= 1, got 0"]),
        ((*TRAIN, "-params", "n_envs:1.5"), ["error: -params n_envs must be an integer, got 1.5"]),
        ((*TRAIN, "-params", "buffer_size:'a'"), ["error: -params buffer_size must be a number, got 'a'"]),
        ((*TRAIN, "--hyperparams", "gamma:'a'"), ["error: -params gamma must be a number, got 'a'"]),
        (
            ("train", "--algo", "sac_nf", "--env", "Pendulum-v1", "-params", "learning_starts:None"),
            ["error: -params learning_starts must be a number, got None"],
        ),
        ((*TRAIN, "-params", "learning_rat:0.1"), ["'learning_rat'; close matches: learning_rate"]),
        (
            ("train", "--algo", "sac_ardae", "--env", "Pendulum-v1", "-params", "score_batch_siz:3"),
            ["'score_batch_siz'; close matches: score_batch_size"],
        ),
        (
            ("train", "--algo", "sac_ardae", "--env", "CartPole-v1", "-n", "10"),
            ["--env must have Box actions for this algorithm, got Discrete(2)"],
        ),
        (
            ("train", "--algo", "sac", "--env", "CartPole-v1", "-n", "10"),
            ["--env must have Box actions for this algorithm, got Discrete(2)"],
        ),
    ],
)
def test_wrong_argument_is_one_line(
    arguments: tuple[str, ...], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    for name in ("empty.npz", "text.npz", "text.zip", "file"):
        Path(name).write_text("" if name == "empty.npz" else "none")
    for name, text in {"short": "default: {policy: MlpPolicy}", "list": "[1]", "broken": "a: [1"}.items():
        Path(f"{name}.yml").write_text(text)
    untrained("sac", seed=0).save("sac.zip")
    np.savez("object.npz", lengths=[1], terminated=[True], actions=np.array([None]), observations=np.zeros((2, 3)))
    observations = np.zeros((2, 3), np.float32)
    np.savez("d.npz", lengths=[1], terminated=[True], actions=np.zeros((1, 1), np.float32), observations=observations)
    np.savez("other.npz", lengths=[1], terminated=[True], actions=np.zeros((1, 1)), observations=np.zeros((2, 2)))
    Path("cut.npz").write_bytes(Path("object.npz").read_bytes()[:300])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert [word for word in words if word not in lines[0]] == []


@pytest.mark.parametrize("command", ["enjoy", "record"])
def test_records_of_a_run_run_no_code(command: str, ardae_rl: Command, tmp_path: Path) -> None:
    run = tmp_path / "logs/sac/Pendulum-v1_1"
    (run / "Pendulum-v1").mkdir(parents=True)
    untrained("sac", seed=0).save(run / "Pendulum-v1")
    for name in ("config.yml", "args.yml"):
        code = f'!!python/object/apply:os.system ["touch {tmp_path}/CODE_WAS_RUN"]'
        (run / "Pendulum-v1" / name).write_text(f"env_kwargs: {{g: 2.0}}\nseed: {code}\n")
    done = ardae_rl(command, "--algo", "sac", "--env", "Pendulum-v1", "--no-render", "-n", 2)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "CODE_WAS_RUN").exists()


def test_record_shows_progress(ardae_rl: Command) -> None:
    """It counts the steps, and is at its end before the video is written."""
    done = ardae_rl("record", *PRETRAINED, "-n", 3)
    assert done.returncode == 0, done.stderr
    bar, saved = done.stdout.index("video: steps: 3 of 3, "), done.stdout.index("Saving video")
    assert bar < saved


def test_recording_progress_is_switched_off_afterwards() -> None:
    before = VecVideoRecorder._capture_frame
    with pytest.raises(ValueError, match="broken"), zoo._recording_progress():
        assert VecVideoRecorder._capture_frame is not before
        raise ValueError("broken")
    assert VecVideoRecorder._capture_frame is before


def test_record_names_only_what_it_records() -> None:
    done = CliRunner().invoke(app, ["record"])
    assert done.exit_code == 2 and "--algo" in done.stderr
    assert "recording" not in done.stdout


def test_wrong_argument_has_no_traceback(ardae_rl: Command) -> None:
    """The same in a separate process, as users see it."""
    done = ardae_rl("train", "--algo", "sac_ardae", "--env", "Hoper-v5")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --env must be registered with Gymnasium, got 'Hoper-v5'; close matches: Hopper-v5"
    )
    assert done.stderr.count("\n") == 1


def test_help_names_the_commands() -> None:
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    for command in ("train", "evaluate", "enjoy", "record", "plot", "demo"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("algo", SMALL)
def test_train_then_enjoy(ardae_rl: Command, tmp_path: Path, algo: str) -> None:
    """A newer folder without a model does not hide the newest run that has one."""
    done = ardae_rl("train", "--algo", algo, "--env", "Pendulum-v1", *TINY, *SMALL[algo])
    assert done.returncode == 0, done.stderr
    assert f"{algo}.yml: hyper-parameters of block 'Pendulum-v1'" in done.stdout
    run = tmp_path / "logs" / algo / "Pendulum-v1_1"
    assert (run / "Pendulum-v1.zip").is_file()
    assert yaml.unsafe_load((run / "Pendulum-v1/args.yml").read_text())["seed"] == 1

    (run.parent / "Pendulum-v1_2/Pendulum-v1").mkdir(parents=True)  # a crash or -optimize leaves such folders
    done = ardae_rl("enjoy", "--algo", algo, "--env", "Pendulum-v1", "--no-render", "-n", 200)
    assert done.returncode == 0, done.stderr
    assert "1 Episodes" in done.stdout


@pytest.mark.parametrize("algo", SMALL)
def test_evaluate_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algo: str) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("runs/Pendulum-v1_1")
    env = Monitor(gym.make("Pendulum-v1"), str(run / "0"))
    model = untrained(algo, env)
    for _ in range(2):
        evaluate_policy(model, env, 1)
    (run / "Pendulum-v1").mkdir()
    (run / "Pendulum-v1/config.yml").touch()
    model.save(run / "Pendulum-v1")

    arguments = ["--algo", algo, "--env", "Pendulum-v1", "--model", str(run), "--episodes", "2", "--output", "e/e.json"]
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == 0, done.output
    record = json.loads(Path("e/e.json").read_text())
    assert record["env_id"] == "Pendulum-v1" and record["n_episodes"] == 2 and record["algo"] == algo
    assert f"mean return {record['mean_return']:.2f}, standard deviation {record['std_return']:.2f}" in done.output

    done = CliRunner().invoke(app, ["plot", str(run), "--output", "curves/c.png"])
    assert done.exit_code == 0, done.output
    assert Path("curves/c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (EVALUATE, "evaluation: episodes: 2 of 2, "),
        ((*COLLECT, "--out", "d.npz"), "demonstrations: episodes: 2 of 2, "),
    ],
)
def test_progress_of_episodes(
    arguments: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, the bar is a line at the end."""
    monkeypatch.chdir(tmp_path)
    untrained("sac", seed=0).save("sac.zip")
    done = CliRunner().invoke(app, [*arguments, "--episodes", "2", "--env-kwargs", "max_episode_steps:5"])
    assert done.exit_code == 0, done.output
    assert line in done.stdout


def test_image_of_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a suffix it is a PNG, which the command says; nothing is made for what cannot be drawn."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run/monitor.csv").write_text('#{"t_start": 0.0}\nr,l,t\n1.0,10,1.0\n')
    done = CliRunner().invoke(app, ["plot", "run", "-o", "noext"])
    assert done.exit_code == 0 and "wrote noext.png" in done.output and Path("noext.png").is_file()
    assert CliRunner().invoke(app, ["plot", "nowhere", "-o", "newfolder/x.png"]).exit_code == 2
    assert not Path("newfolder").exists()


def test_model_of_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    untrained("sac", seed=0).save("sac.zip")
    arguments = ["--algo", "sac", "--env", "MountainCarContinuous-v0", "--model", "sac.zip"]
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: --env must have the spaces that the model was trained with: ")


def test_progress_bar_and_default_block(ardae_rl: Command) -> None:
    """An id without a block in RL Zoo's file trains with 'default', and the command says so."""
    arguments = ("-n", 250, "--eval-freq", -1, "-params", "n_envs:1", "n_steps:100", "batch_size:50", "n_epochs:1")
    done = ardae_rl("train", "--algo", "ppo", "--env", "ardae/MultiGoal-v0", *arguments)
    assert done.returncode == 0, done.stderr
    assert "ppo.yml: no block 'ardae/MultiGoal-v0'; hyper-parameters of block 'default'" in done.stdout
    assert "100%" in done.stdout + done.stderr


def test_error_before_the_first_step(ardae_rl: Command, tmp_path: Path) -> None:
    """RL Zoo then fails to close a progress bar that it has not opened, which does not hide the error."""
    (tmp_path / "broken.py").write_text("""
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv

class Broken(PendulumEnv):
    def reset(self, **kwargs):
        raise ValueError("no start")

gymnasium.register("Broken-v0", Broken)
""")
    done = ardae_rl("train", "--algo", "sac", "--env", "Broken-v0", "--gym-packages", "broken", "--eval-freq", -1)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: no start" and "Traceback" not in done.stderr


def test_conf_file_of_the_user_wins(ardae_rl: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("Pendulum-v1: {n_timesteps: 150, policy: MlpPolicy, learning_starts: 149}\n")
    done = ardae_rl(
        "train", "--algo", "sac", "--env", "Pendulum-v1", "-conf", "mine.yml", "--eval-freq", -1, "--no-progress"
    )
    assert done.returncode == 0, done.stderr
    config = yaml.unsafe_load((tmp_path / "logs/sac/Pendulum-v1_1/Pendulum-v1/config.yml").read_text())
    assert config["learning_starts"] == 149


@pytest.mark.parametrize("algo", ["sac", "sac_ardae"])
def test_optimize(ardae_rl: Command, tmp_path: Path, algo: str) -> None:
    """Two trials and the report at the end."""
    arguments = ("-optimize", "--n-trials", 2, "--eval-episodes", 1, "-n", 220, "-params", "learning_starts:210")
    done = ardae_rl("train", "--algo", algo, "--env", "Pendulum-v1", *arguments)
    assert done.returncode == 0, done.stderr
    report = next((tmp_path / "logs" / algo).glob("report_*.csv")).read_text()
    assert report.count("COMPLETE") == 2
    assert ("noise_dim" in report) == (algo == "sac_ardae")


@pytest.mark.slow
@pytest.mark.parametrize("env", ["Pendulum-v1", "Hopper-v5"])
def test_record(ardae_rl: Command, tmp_path: Path, env: str) -> None:
    done = ardae_rl(
        "train", "--algo", "sac", "--env", env, "-n", 150, "--eval-freq", -1, "-params", "learning_starts:149"
    )
    assert done.returncode == 0, done.stderr
    done = ardae_rl("record", "--algo", "sac", "--env", env, "-n", 20)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "logs/sac" / f"{env}_1" / "videos").glob("*.mp4"))) == 1


@pytest.mark.slow
def test_subprocess_environments(ardae_rl: Command) -> None:
    """Worker processes make our environments, although they do not register them."""
    arguments = ("--vec-env", "subproc", "-n", 250, "--eval-freq", -1, "-params", "n_envs:2", "learning_starts:249")
    done = ardae_rl("train", "--algo", "sac", "--env", "ardae/MultiGoal-v0", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_demo(ardae_rl: Command, tmp_path: Path) -> None:
    done = ardae_rl("demo", "--timesteps", 400, "--out", "d")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "d/evaluation.json").read_text())["n_episodes"] == 20
    assert {"model.zip", "learning_curve.png", "monitor.csv"} <= {path.name for path in (tmp_path / "d").iterdir()}


def test_demonstrations_and_inverse_rl(ardae_rl: Command, tmp_path: Path) -> None:
    """One agent demonstrates, another learns from it and is evaluated by the environment's own reward."""
    untrained("sac", seed=0).save(tmp_path / "expert")
    done = ardae_rl(
        *("collect-demos", "--algo", "sac", "--env", "Pendulum-v1", "--model", "expert.zip"),
        *("--out", "demos.npz", "--episodes", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "2 episodes, mean return -" in done.stdout and "wrote demos.npz" in done.stdout
    small = ("-params", "n_disc_updates:2", "generator_kwargs:dict(learning_starts=200)")
    done = ardae_rl("train", "--algo", "airl", "--env", "Pendulum-v1", "--demos", "demos.npz", *TINY, *small)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "logs/airl/Pendulum-v1_1"
    assert "demos.npz" in (run / "Pendulum-v1/config.yml").read_text()
    done = ardae_rl("evaluate", "--algo", "airl", "--env", "Pendulum-v1", "--model", run, "--episodes", 1)
    assert done.returncode == 0, done.stderr


def test_continued_inverse_rl(ardae_rl: Command, tmp_path: Path) -> None:
    """It continues with the reward and the policy of a saved model, and with the demonstrations of the command."""
    rng = np.random.default_rng(0)
    demos = [Trajectory(rng.uniform(-1, 1, (21, 3)), rng.uniform(-1, 1, (20, 1)))]
    save_trajectories(tmp_path / "d.npz", demos)
    earlier: Any = AIRL("MlpPolicy", "Pendulum-v1", demonstrations=demos, seed=0)
    earlier.save(tmp_path / "airl.zip")
    done = ardae_rl(
        *("train", "--algo", "airl", "--env", "Pendulum-v1", "-i", "airl.zip", "--demos", "d.npz"),
        *("-n", 5, "--eval-freq", -1, "--no-progress"),
    )
    assert done.returncode == 0, done.stderr
    assert "training continues without earlier transitions" in done.stderr
    continued: Any = AIRL.load(tmp_path / "logs/airl/Pendulum-v1_1/Pendulum-v1.zip")
    assert continued.num_timesteps == 5
    for name, parameter in earlier.policy.state_dict().items():  # no update in so few steps
        np.testing.assert_array_equal(parameter, continued.policy.state_dict()[name], err_msg=name)


def test_arguments_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the training are used, unless the command has others."""
    monkeypatch.chdir(tmp_path)
    run = Path("run")
    (run / "Pendulum-v1").mkdir(parents=True)
    untrained("sac", seed=0).save(run / "Pendulum-v1")
    (run / "Pendulum-v1/config.yml").write_text(
        "!!python/object/apply:collections.OrderedDict\n- - - policy\n    - M\n"
    )
    record = OrderedDict(algo="sac", env_kwargs={"g": 2.0, "max_episode_steps": 20}, seed=1)
    (run / "Pendulum-v1/args.yml").write_text(yaml.dump(record))
    common = ["--algo", "sac", "--env", "Pendulum-v1", "--model", "run", "--episodes", "1"]
    done = CliRunner().invoke(app, ["evaluate", *common, "--output", "e.json"])
    assert done.exit_code == 0, done.output
    assert "Pendulum-v1 with g=2.0, max_episode_steps=20, 1 episodes" in done.output
    result = json.loads(Path("e.json").read_text())
    assert result["lengths"] == [20] and result["env_kwargs"] == {"g": 2.0, "max_episode_steps": 20}
    other = ["--env-kwargs", "max_episode_steps:7"]
    done = CliRunner().invoke(app, ["collect-demos", *common, *other, "--out", "d.npz"])
    assert done.exit_code == 0, done.output
    with np.load("d.npz") as demonstrations:
        assert demonstrations["lengths"].tolist() == [7]
    record["algo"] = "sac_gaussian"
    (run / "Pendulum-v1/args.yml").write_text(yaml.dump(record))
    done = CliRunner().invoke(app, ["evaluate", *common])
    assert done.exit_code == 2 and "--algo must be 'sac_gaussian', which run/Pendulum-v1.zip" in done.stderr
    (run / "Pendulum-v1/args.yml").unlink()
    done = CliRunner().invoke(app, ["evaluate", *common, "--env-kwargs", "g=3"])
    assert done.exit_code == 2 and "--env-kwargs must have the form NAME:VALUE" in done.stderr


def test_demonstrations_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies of images see them with their channels first, and so are the demonstrations; algorithms accept both."""
    monkeypatch.chdir(tmp_path)
    env_id = "ardae/CarRacingFast-v0"
    PPO("CnnPolicy", gym.make(env_id), n_steps=4, batch_size=4, seed=0, device="cpu").save("m.zip")
    options = ["--algo", "ppo", "--env", env_id, "--model", "m.zip", "--episodes", "1"]
    short = ["--env-kwargs", "max_episode_steps:3"]
    done = CliRunner().invoke(app, ["collect-demos", *options, *short, "--out", "d.npz"])
    assert done.exit_code == 0, done.output
    (first,) = load_trajectories("d.npz")
    assert not isinstance(first.observations, dict) and first.observations.shape == (4, 3, 96, 96)
    last = Trajectory(first.observations.transpose(0, 2, 3, 1), first.actions, first.rewards)
    save_trajectories("last.npz", [last])
    for name in ("d.npz", "last.npz"):
        zoo.add_demonstrations("bc", name, ["--env-kwargs", "max_episode_steps:3"], env_id)


def test_sampled_demonstrations_follow_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    untrained("sac", seed=0).save("m.zip")
    common = ["--algo", "sac", "--env", "Pendulum-v1", "--model", "m.zip", "--episodes", "1"]
    short = ["--env-kwargs", "max_episode_steps:5"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = CliRunner().invoke(app, ["collect-demos", *common, *short, "--seed", str(seed), "--out", f"{name}.npz"])
        assert done.exit_code == 0, done.output
    actions = [np.load(f"{name}.npz")["actions"] for name in "abc"]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.allclose(actions[0], actions[2])


@pytest.mark.parametrize("options", [(), ("--uuid",)])
def test_plots_of_e2c(options: tuple[str, ...], ardae_rl: Command, tmp_path: Path) -> None:
    small = ("-params", "n_collected:250", "gradient_steps:2", "policy_kwargs:dict(hidden=(8,))")
    done = ardae_rl("train", "--algo", "e2c", "--env", "ardae/PlanarObstacles-v0", *TINY, *options, *small)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "logs/e2c").glob("ardae-PlanarObstacles-v0_1*")
    assert {path.name for path in run.glob("*.png")} == {"latent_map.png", "plan.png", "reconstructions.png"}
