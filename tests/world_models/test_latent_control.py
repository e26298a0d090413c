"""SB3's algorithms trained on latents, and exported to frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage

from ardae_rl.world_models.latent_control import PixelPolicy, WorldModelVecEnv
from ardae_rl.world_models.policies import WorldModelPolicy
from tests.world_models.brightness import Brightness


def world_model(seed: int = 0) -> WorldModelPolicy:
    th.manual_seed(seed)
    env = Brightness()
    return WorldModelPolicy(env.observation_space, env.action_space, z_dim=3, vision_width=4, memory_hidden=5)


def test_observations_are_what_the_policy_has() -> None:
    """Compared step by step, over the end of an episode, also with channels first."""
    model = world_model()
    vec_env = WorldModelVecEnv(DummyVecEnv([Brightness, Brightness]), model)
    turned = WorldModelVecEnv(VecTransposeImage(DummyVecEnv([Brightness, Brightness])), model)
    rng, frames = np.random.default_rng(0), np.full((2, 64, 64, 3), 100, np.uint8)
    features = np.asarray(vec_env.reset())
    np.testing.assert_allclose(np.asarray(turned.reset()), features, atol=1e-5)
    z, state = model.latents(frames), model.memory.initial_state(2)
    np.testing.assert_allclose(features, model.features(z, state).detach(), atol=1e-6)
    levels = np.full(2, 100.0)
    for step in range(5):
        actions = rng.uniform(-1, 1, (2, 2)).astype(np.float32)
        stepped, _, dones, infos = vec_env.step(actions)
        features = np.asarray(stepped)
        np.testing.assert_allclose(np.asarray(turned.step(actions)[0]), features, atol=1e-5)
        state = model.remember(z, actions, state)
        levels = np.clip(levels + 40 * actions[:, 0], 0, 255)
        z = model.latents(np.broadcast_to(levels[:, None, None, None], (2, 64, 64, 3)).astype(np.uint8))
        expected = model.features(z, state).detach().numpy()
        if step < 4:
            np.testing.assert_allclose(features, expected, atol=1e-5)
    assert dones.all()
    np.testing.assert_allclose([info["terminal_observation"] for info in infos], expected, atol=1e-5)
    assert (features[:, 3:] == 0).all()
    # The memory of the next episode starts empty
    z, state = model.latents(frames), model.memory.initial_state(2)
    features = np.asarray(vec_env.step(actions)[0])
    np.testing.assert_allclose(features[:, 3:], model.remember(z, actions, state)[0].detach(), atol=1e-5)
    assert vec_env.action_space == spaces.Box(-1, 1, (2,))
    assert vec_env.observation_space == spaces.Box(-np.inf, np.inf, (3 + 5,))


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_train_and_export(algorithm: Any, tmp_path: Path) -> None:
    """In the plain environment, the exported policy acts as the model does on latents."""
    model = world_model()
    vec_env = WorldModelVecEnv(DummyVecEnv([Brightness]), model)
    arguments = {"n_steps": 32} if algorithm is PPO else {"learning_starts": 10}
    agent = algorithm("MlpPolicy", vec_env, seed=0, **arguments).learn(64)
    policy = PixelPolicy(model, agent.policy)
    policy.save(str(tmp_path / "policy.pt"))
    loaded = PixelPolicy.load(str(tmp_path / "policy.pt"))
    on_latents, _ = evaluate_policy(agent, vec_env, n_eval_episodes=1, deterministic=True, warn=False)
    for exported in (policy, loaded):
        on_frames, _ = evaluate_policy(exported, Brightness(), n_eval_episodes=1, deterministic=True, warn=False)
        assert on_frames == pytest.approx(on_latents, abs=0.02)


def test_actors_of_other_spaces() -> None:
    other = PPO("MlpPolicy", "Pendulum-v1").policy
    with pytest.raises(ValueError, match=r"`actor` must have observations and actions of .*, got \(\(3,\), \(1,\)\)"):
        PixelPolicy(world_model(), other)
