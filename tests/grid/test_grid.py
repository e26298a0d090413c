"""A grid of tiny training runs: they resume after being killed, and failures are reported in the table."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import NStepReplayBuffer
from typer.testing import CliRunner

from ardae_rl.cli.main import app
from ardae_rl.grid import checkpoint, environment, training
from ardae_rl.grid.environment import keep_environment, recorded_engine
from ardae_rl.grid.grid import benchmark, run_folder
from ardae_rl.grid.segment import start_segment, truncate_episodes
from ardae_rl.grid.suites import SUITES, VARIANTS, grid
from ardae_rl.registry import environment_id
from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import read_csv, write_csv

QUICK = ("sac", "sac_nf", "sac_ardae-unclamped", "sac_ardae-bases4", "tqc", "crossq", "sac-crossq", "tqc-simba")
TINY: dict[str, Any] = {"n_seeds": 1, "steps": 90, "eval_freq": 30, "eval_episodes": 1}


def settings_of(algo: str, env: str = "Pendulum-v1") -> dict[str, Any]:
    (settings,) = grid([env], [algo], **TINY)
    settings["arguments"] |= {"batch_size": 8, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}
    return settings


def numbers(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the rows without the columns that depend on the machine."""
    return [
        {key: value for key, value in row.items() if key not in ("wall_seconds", "cpu_seconds", "updates_per_second")}
        for row in read_csv(folder / name)
    ]


@pytest.mark.parametrize(
    "algo", [*QUICK, *(pytest.param(algo, marks=pytest.mark.slow) for algo in VARIANTS if algo not in QUICK)]
)
def test_a_killed_run_ends_with_the_same_files(algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is killed after its first checkpoint, in the middle of the second segment."""
    settings = settings_of(algo)
    training.train(settings, Run(tmp_path / "whole"))

    class KilledError(Exception):
        pass

    def kill(watch: Any) -> bool:
        if watch.num_timesteps == 45:
            raise KilledError
        return original(watch)

    original = training._Watch._on_step
    monkeypatch.setattr(training._Watch, "_on_step", kill)
    with pytest.raises(KilledError):
        training.train(settings, Run(tmp_path / "cut"))
    assert [path.name for path in (tmp_path / "cut").glob("checkpoint*")] == ["checkpoint_30"]
    assert len(read_csv(tmp_path / "cut" / "evaluations.csv")) == 1
    monkeypatch.setattr(training._Watch, "_on_step", original)
    training.train(settings, Run(tmp_path / "cut"))

    for name in ("evaluations.csv", "metrics.csv"):
        assert numbers(tmp_path / "cut", name) == numbers(tmp_path / "whole", name)
    assert [row["step"] for row in read_csv(tmp_path / "whole" / "evaluations.csv")] == ["30", "60", "90"]
    files = ["environment.json", "evaluations.csv", "metrics.csv", "model.zip"]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == files
    assert float(read_csv(tmp_path / "whole" / "metrics.csv")[-1]["critic_loss"]) > 0
    model = (tmp_path / "cut" / "model.zip").read_bytes()
    training.train(settings, Run(tmp_path / "cut"))
    assert (tmp_path / "cut" / "model.zip").read_bytes() == model, (
        "a run that was killed at its very end is not made again"
    )


def test_a_run_resumes_from_its_newest_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after a checkpoint was saved, before the earlier one was deleted, leaves both."""
    model = training._new_model(settings_of("sac"))
    monkeypatch.setattr(checkpoint, "delete", lambda _: None)
    for steps in (90, 100):  # as text, 100 comes first
        model.learn(steps - model.num_timesteps, reset_num_timesteps=False)
        checkpoint.save(model, {"evaluations.csv": [{"step": steps}], "metrics.csv": []}, tmp_path)
    assert len(checkpoint.checkpoints(tmp_path)) == 2
    tables = training._Tables(tmp_path)
    resumed = training._resumed(settings_of("sac"), tmp_path, tables)
    assert resumed is not None and resumed.num_timesteps == 100
    assert tables.rows["evaluations.csv"] == [{"step": 100}]


def test_segments_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own random numbers; otherwise every segment would explore alike."""
    settings = settings_of("sac") | {"steps": 60}
    settings["arguments"] |= {"learning_starts": 1000}  # random actions only
    actions: list[Any] = []
    monkeypatch.setattr(
        checkpoint, "save", lambda model, *_: actions.append(model.replay_buffer.actions[: model.num_timesteps].copy())
    )
    training.train(settings, Run(tmp_path / "run"))
    assert len(actions[1]) == 60
    assert (actions[1][:30] == actions[0]).all()
    assert (actions[1][:30] != actions[1][30:]).all()


def test_runs_of_different_seeds_are_evaluated_in_different_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episode k of an evaluation has the evaluation's seed + k."""
    evaluated: list[set[int]] = []

    def evaluate(model: Any, env: str, n_episodes: int, seed: int, **_: Any) -> Any:
        evaluated.append(set(range(seed, seed + n_episodes)))
        return original(model, env, 1, seed, allow_wrappers=True)

    original = training.evaluate
    monkeypatch.setattr(training, "evaluate", evaluate)
    for settings in grid(["Pendulum-v1"], ["sac"], **TINY | {"n_seeds": 2, "steps": 30, "eval_episodes": 10}):
        training.train(settings | {"arguments": {"learning_starts": 1000}}, Run(tmp_path / settings["name"]))
    assert len(evaluated) == 2 and not evaluated[0] & evaluated[1]


@pytest.mark.parametrize("algo", VARIANTS)
def test_a_model_leaves_its_settings_as_they_are(algo: str) -> None:
    """SB3 adds entries to `policy_kwargs`; a run whose settings had them would never count as finished."""
    settings = settings_of(algo)
    before = json.dumps(settings)
    training._new_model(settings)
    assert json.dumps(settings) == before


@pytest.mark.parametrize("n_filled", [10, 12, 16], ids=["part", "full", "wrapped"])
def test_n_step_returns_end_with_a_segment(n_filled: int) -> None:
    """Each return that would run on after the reset ends there, and bootstraps from the state before it."""
    model = SAC("MlpPolicy", "Pendulum-v1", seed=0, buffer_size=12, learning_starts=1000, n_steps=3, device="cpu")
    model.learn(n_filled)
    buffer = model.replay_buffer
    assert isinstance(buffer, NStepReplayBuffer)
    last = buffer.pos - 1
    start_segment(model, seed=0)
    model.learn(2, reset_num_timesteps=False)
    batch: Any = buffer._get_samples(np.array([last - 1, last]))
    rewards, next_observation = buffer.rewards[[last - 1, last], 0], buffer.next_observations[last]
    np.testing.assert_allclose(batch.rewards[:, 0], [rewards[0] + 0.99 * rewards[1], rewards[1]], rtol=1e-6)
    np.testing.assert_allclose(batch.discounts.flatten(), [0.99**2, 0.99], rtol=1e-6)
    np.testing.assert_array_equal(batch.next_observations, np.concatenate([next_observation, next_observation]))
    assert (batch.dones == 0).all()


def test_what_truncation_leaves_alone() -> None:
    """An empty buffer stays empty, and the end of an episode remains a termination."""
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=12, learning_starts=1000, n_steps=3, device="cpu")
    buffer = model.replay_buffer
    assert isinstance(buffer, NStepReplayBuffer)
    truncate_episodes(model)
    assert buffer.size() == 0 and not buffer.timeouts.any()
    model.learn(5)
    buffer.dones[4] = 1
    truncate_episodes(model)
    assert not buffer.timeouts.any()


def test_the_command_and_its_report(tmp_path: Path) -> None:
    """Finished runs are kept, the table shows the failed one, and the report covers the finished ones."""
    out = tmp_path / "out"
    arguments = ["benchmark", "--envs", "Pendulum-v1, tests.grid.failing:Failing-v0", "--algos", "sac", "--seeds", "1"]
    arguments += ["--steps", "40", "--eval-freq", "20", "--eval-episodes", "1", "--jobs", "1", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    table = " ".join(result.output.split())
    last = float(read_csv(out / "Pendulum-v1" / "sac_0" / "evaluations.csv")[-1]["mean_return"])
    assert f"Pendulum-v1 │ sac │ 0 │ 40 │ {last} │ finished" in table
    assert "failed: RuntimeError: on purpose" in table
    table = (out / "Pendulum-v1" / "sac_0" / "evaluations.csv").read_text()
    result = CliRunner().invoke(app, arguments)
    assert "2 runs, 1 already finished" in result.output
    assert (out / "Pendulum-v1" / "sac_0" / "evaluations.csv").read_text() == table

    result = CliRunner().invoke(app, ["report", str(out)])
    assert result.exit_code == 0, result.output
    text = (out / "report.md").read_text()
    assert f"| sac | {last:.1f} |" in text
    assert "failed: tests.grid.failing:Failing-v0 sac 0: RuntimeError: on purpose" in text
    for name in ("learning_curves.png", "profiles.png"):
        assert (out / name).stat().st_size > 10_000
    assert "All pairs" not in text

    result = CliRunner().invoke(app, ["report", str(out), "--beside", f"before={out}"])
    assert result.exit_code == 0, result.output
    text = (out / "report.md").read_text()
    assert f"| sac (before) | {last:.1f} |" in text
    assert "| sac - sac (before) | 0.0, n = 1 |" in text
    assert "| sac (before) | 0.50 |  |" in text
    first = float(read_csv(out / "Pendulum-v1" / "sac_0" / "evaluations.csv")[0]["mean_return"])
    for steps in ("20", "39"):
        result = CliRunner().invoke(app, ["report", str(out), "--steps", steps])
        assert result.exit_code == 0, result.output
        assert f"| sac | {first:.1f} |" in (out / "report.md").read_text()
    shorter = shutil.copytree(out, tmp_path / "shorter")
    for name in ("evaluations.csv", "metrics.csv"):
        path = shorter / "Pendulum-v1" / "sac_0" / name
        write_csv(path, read_csv(path)[:1])
    result = CliRunner().invoke(app, ["report", str(out), "--beside", f"shorter={shorter}"])
    assert result.exit_code == 2
    assert "--steps must be a step at which all runs of Pendulum-v1 were" in " ".join(result.stderr.split())
    result = CliRunner().invoke(app, ["report", str(out), "--beside", f"shorter={shorter}", "--steps", "20"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["report", str(out), "--steps", "19"])
    assert "--steps must be >= 20, the first evaluation of" in " ".join(result.stderr.split())
    result = CliRunner().invoke(app, ["report", str(out), "--beside", str(out)])
    assert "--beside must have the form LABEL=FOLDER" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "atari"], "--suite must be one of 'mujoco', 'multigoal', 'classic', got 'atari'"),
        (["--algos", "sac,ppo"], "--algos must be one of 'sac', 'sac_nf', 'sac_ardae', 'tqc', 'crossq'"),
        (["--envs", "Hopper-v99"], "must be registered with Gymnasium, got 'Hopper-v99'"),
        (["--seeds", "0"], "--seeds must be >= 1, got 0"),
        (["--steps", "25", "--eval-freq", "10"], "--steps must be a multiple of --eval-freq, 10, got 25"),
        (["--jobs", "0"], "--jobs must be >= 1, got 0"),
        (["--envs", ""], "--envs must be one or more different names, got ''"),
        (["--algos", "sac, tqc,sac"], "--algos must be one or more different names, got 'sac, tqc, sac'"),
        (["--gpus", "1"], "--gpus must be 0 without --ray, got 1"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not any(tmp_path.iterdir()), "nothing was started"


def test_finished_runs_of_other_settings_are_safe(tmp_path: Path) -> None:
    given: dict[str, Any] = TINY | {"jobs": 1, "out": tmp_path}
    settings = settings_of("sac")
    folder = run_folder(tmp_path, settings)
    folder.mkdir(parents=True)
    (folder / "finished.json").write_text(json.dumps(settings | {"steps": 1000}))
    with pytest.raises(
        ValueError, match=r"`folder` must not have a run with other settings, got .* steps \(1000, now 90\)"
    ):
        benchmark("classic", ["sac"], ["Pendulum-v1"], **given)
    assert (folder / "finished.json").exists()


def test_suites_are_registered() -> None:
    for envs in SUITES.values():
        for env in envs:
            assert environment_id(env) == env


def test_the_environment_is_recorded_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that stands for something else now does not resume the runs of what it was."""
    keep_environment(tmp_path, "Pendulum-v1")
    keep_environment(tmp_path, "Pendulum-v1")
    assert json.loads((tmp_path / "environment.json").read_text())["id"] == "Pendulum-v1"
    changed = replace(gym.spec("Pendulum-v1"), kwargs={"g": 5.0})
    monkeypatch.setitem(gym.registry, "Pendulum-v1", changed)
    message = r"`env` must be the environment that .*, got Pendulum-v1, which differs in kwargs .*, now .*5\.0"
    with pytest.raises(ValueError, match=message):
        keep_environment(tmp_path, "Pendulum-v1")


@pytest.mark.parametrize(
    ("env_id", "module", "engines"),
    [
        ("Pendulum-v1", "numpy", []),
        ("Hopper-v5", "mujoco", ["mujoco"]),
        ("ardae/MultiGoalMaze-v0", "gymnasium_robotics", ["mujoco"]),
        ("BipedalWalker-v3", "Box2D", ["box2d"]),
    ],
)
def test_another_physics_engine_does_not_resume_a_run(
    env_id: str, module: str, engines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(module)
    monkeypatch.setattr(environment, "package_versions", lambda: {"mujoco": "3.0", "box2d": "2.3"})
    keep_environment(tmp_path, env_id)
    assert list(recorded_engine(tmp_path)) == engines
    monkeypatch.setattr(environment, "package_versions", lambda: {"mujoco": "3.1", "box2d": "2.4"})
    if engines:
        with pytest.raises(ValueError, match=rf"differs in engine \({{'{engines[0]}': '.*'}}, now {{.*}}\)"):
            keep_environment(tmp_path, env_id)
    else:
        keep_environment(tmp_path, env_id)


def test_a_run_without_a_record_of_its_engine_can_be_resumed(tmp_path: Path) -> None:
    """Earlier versions of this package did not record it."""
    pytest.importorskip("mujoco")
    keep_environment(tmp_path, "Hopper-v5")
    record = json.loads((tmp_path / "environment.json").read_text())
    assert set(record.pop("engine")) == {"mujoco"}
    (tmp_path / "environment.json").write_text(json.dumps(record))
    keep_environment(tmp_path, "Hopper-v5")


def test_discrete_actions_are_refused_before_any_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`envs` must have Box actions, got CartPole-v1 with Discrete\(2\)"):
        benchmark("mujoco", ["sac"], ["CartPole-v1"], jobs=1, out=tmp_path, **TINY)
    assert not list(tmp_path.iterdir())
