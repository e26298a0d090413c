"""Training on latents."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import TRAINING_SEEDS
from experiments import latent_control
from tests.world_models.brightness import Brightness


class Played(Brightness):
    """Records the seeds of its episodes."""

    seeds: ClassVar[list[int]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.extend([] if seed is None else [seed])
        return super().reset(seed=seed, options=options)


def test_seeds_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No evaluation has them, and a resumed training has others."""
    monkeypatch.setattr(latent_control, "SubprocVecEnv", DummyVecEnv)
    monkeypatch.setattr(latent_control, "make_env", lambda action_repeat, patience: Monitor(Played()))
    policy = WorldModelPolicy(Played.observation_space, Played.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    for n_played in (2, 4):
        latent_control.train(policy, "ppo", tmp_path, minutes=0.01, n_envs=2, seed=0)
        assert len(set(Played.seeds)) == n_played and all(seed in TRAINING_SEEDS for seed in Played.seeds)
