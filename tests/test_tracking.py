"""The code of docs/tracking.md sends metrics to Weights & Biases, here to a run without a network."""

import re
from pathlib import Path
from typing import Any

import pytest

from ardae_rl import SACNF
from tests.conftest import ROOT


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    page = (ROOT / "docs/tracking.md").read_text()
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def track" in code)
    names: dict[str, Any] = {}
    exec(block, names)

    model = SACNF("MlpPolicy", "Pendulum-v1", learning_starts=50)
    run = wandb.init(project="test", dir=str(tmp_path))
    names["track"](model, run)
    model.learn(450, log_interval=1)
    summary = dict(run.summary)  # which finishing the run empties
    model.logger.close()

    assert {"rollout/ep_rew_mean", "train/critic_loss", "train/ent_coef"} <= summary.keys()
    assert summary["time/total_timesteps"] == 200, "the second episode's row is complete when a third one begins"
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
