"""Training on latents."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common import callbacks
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.seeds import SELECTION_SEEDS, TRAINING_SEEDS
from experiments import latent_control
from tests.world_models.brightness import Brightness


class Played(Brightness):
    """Records the seeds of its episodes."""

    seeds: ClassVar[list[int]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seeds.extend([] if seed is None else [seed])
        return super().reset(seed=seed, options=options)


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> WorldModelPolicy:
    """A small world model of an environment that records its seeds, in this process."""
    monkeypatch.setattr(latent_control, "SubprocVecEnv", DummyVecEnv)
    monkeypatch.setattr(latent_control, "make_env", lambda action_repeat, patience: Monitor(Played()))
    Played.seeds.clear()
    return WorldModelPolicy(Played.observation_space, Played.action_space, z_dim=4, vision_width=4, memory_hidden=8)


def test_seeds_of_the_training(policy: WorldModelPolicy, tmp_path: Path) -> None:
    """No evaluation has them, and a resumed training has others."""
    for n_played in (2, 4):
        latent_control.train(policy, "ppo", tmp_path, minutes=0.01, n_envs=2, seed=0)
        assert len(set(Played.seeds)) == n_played and all(seed in TRAINING_SEEDS for seed in Played.seeds)


def test_selection(policy: WorldModelPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each evaluation has the same seeds, and a resumed training keeps a better policy of the one before."""
    returns, given, saved = [4.0, 2.0, 3.0, 1.0], [0.0], []

    def evaluated(model: Any, env: Any, **_: Any) -> tuple[list[float], list[int]]:
        env.reset()
        given.append(returns.pop())
        return given[-1:], [5]

    monkeypatch.setattr(callbacks, "evaluate_policy", evaluated)
    for _ in range(2):
        venv, held_out = (latent_control.make_venv(policy, 2, training) for training in (True, False))
        model = PPO("MlpPolicy", venv, n_steps=4, batch_size=8, n_epochs=1, device="cpu")
        monkeypatch.setattr(model, "save", lambda path: saved.append(given[-1]))
        Played.seeds.clear()
        model.learn(16, latent_control.Selection(held_out, tmp_path, eval_freq=4))
        assert Played.seeds == [SELECTION_SEEDS.start, SELECTION_SEEDS.start + 1] * 2
    assert saved == [1.0, 3.0, 4.0]


class AfterSixCalls(BaseCallback):
    """Stands in for a limit of time."""

    def _on_step(self) -> bool:
        return self.n_calls < 6


def test_off_policy_training_that_is_resumed(
    policy: WorldModelPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its replay buffer is filled first, counted from where it goes on, however often it is interrupted."""
    monkeypatch.setattr(latent_control, "StopAfter", lambda seconds: AfterSixCalls())
    small: dict[str, Any] = {"learning_starts": 1000, "buffer_size": 1000, "policy_kwargs": {"net_arch": [4]}}
    monkeypatch.setitem(latent_control.ARGUMENTS, "sac", small)
    before = 0
    for _ in range(3):
        latent_control.train(policy, "sac", tmp_path, minutes=60, n_envs=2, seed=0)
        model = SAC.load(tmp_path / "model")
        assert model.learning_starts == before + 1000
        before = model.num_timesteps
