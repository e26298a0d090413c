"""The experiments on imitation: what they refuse before they train, and the agent that a learned reward trains."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from ardae_rl.irl import Trajectory, save_trajectories
from ardae_rl.runs.run import Run
from experiments import imitation, imitation_ablation, imitation_transfer
from experiments.figure import needed


@pytest.mark.parametrize(
    ("experiment", "arguments", "words"),
    [
        (imitation, {"methods": ("gail-dac",)}, "`env_id` must be one of HalfCheetah-v5, .* got 'Pendulum-v1'"),
        (imitation_ablation, {"env": "Pendulum-v1"}, "`env_id` must be one of HalfCheetah-v5, .* got 'Pendulum-v1'"),
        (imitation_transfer, {"method": "bc"}, "`method` must be one of 'airl', .* got 'bc'"),
        (imitation_transfer, {"method": "sqil"}, "`method` must be one of 'airl', .* got 'sqil'"),
        (
            imitation_transfer,
            {"method": "airl-proximal"},
            "`env_id` must be one of HalfCheetah-v5, .* got 'Pendulum-v1'",
        ),
        (imitation_transfer, {"env": "CartPole-v1"}, "`env` must be Pendulum-v1 or a MuJoCo environment, .* got"),
    ],
)
def test_arguments_that_are_refused(experiment: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        experiment.runs("smoke", 1, **arguments)


def test_environments_without_settings_of_their_own() -> None:
    """They have the default numbers of steps."""
    pytest.importorskip("mujoco")
    assert all(run["steps"] == 20_000 for run in imitation_transfer.runs("quick", 1, env="InvertedPendulum-v5"))


@pytest.mark.parametrize(("env", "method"), [("Pendulum-v1", "airl"), ("Hopper-v5", "airl-proximal")])
def test_an_agent_of_the_learned_reward(env: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its temperature is 1, for which the reward is learned; it knows the absorbing state that the reward knows."""
    if env != "Pendulum-v1":
        pytest.importorskip("mujoco")
    (settings,) = imitation_transfer.runs(
        "smoke", 1, env=env, method=method, masses=(1.5,), sources=("learned reward",)
    )
    space = gym.make(env).action_space
    observations = np.zeros((4, *(gym.make(env).observation_space.shape or ())), np.float32)
    demos = [Trajectory(observations, np.stack([space.sample() for _ in range(3)]), terminated=True)]
    folder = tmp_path / "run"
    folder.mkdir()
    save_trajectories(needed(folder, settings) / "demos.npz", demos)
    made: list[Any] = []
    sac = imitation_transfer.SAC

    def recorded(*args: Any, **kwargs: Any) -> Any:
        made.append(sac(*args, **kwargs))
        return made[0]

    monkeypatch.setattr(imitation_transfer, "SAC", recorded)
    (row,) = imitation_transfer.run(settings, Run(folder))
    assert float(made[0].ent_coef_tensor) == 1 and np.isfinite(float(row["return"]))
    assert made[0].observation_space.shape == {"Pendulum-v1": (3,), "Hopper-v5": (12,)}[env]


@pytest.mark.parametrize("experiment", [imitation, imitation_ablation, imitation_transfer])
@pytest.mark.parametrize("name", ["steps", "expert_steps"])
def test_no_steps_are_refused(experiment: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be >= 1, got 0"):
        experiment.runs("smoke", 1, **{name: 0})
