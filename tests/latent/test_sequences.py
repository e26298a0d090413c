"""Sequences from SB3's buffers: complete, in order, with actions aligned to the transitions that they cause."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from ardae_rl.e2c import E2C
from ardae_rl.latent.sequences import SequenceSampler
from tests.latent.toy import LIMIT, Walk


def collected(n: int, buffer_size: int = 1000, with_goal: bool = True, n_envs: int = 2) -> Any:
    env = make_vec_env(Walk, n_envs, env_kwargs={"with_goal": with_goal}, seed=0)
    small: dict[str, Any] = {"gradient_steps": 1, "batch_size": 2, "policy_kwargs": {"hidden": (4,)}}
    agent = E2C("MultiInputPolicy", env, n_collected=n, buffer_size=buffer_size, seed=0, device="cpu", **small)
    agent.learn(n)
    return agent.replay_buffer


@pytest.mark.parametrize("buffer_size", [1000, 40], ids=["all", "a full buffer"])
@pytest.mark.parametrize("length", [1, 3, LIMIT])
def test_alignment(length: int, buffer_size: int) -> None:
    """Action t and reward t belong to the transition from image t to t + 1; any shift would fail."""
    buffer = collected(200, buffer_size)
    sampler = SequenceSampler(buffer, length, "observation")
    batch = sampler.sample(500, np.random.default_rng(0))
    assert batch.observations.shape == (500, length + 1, 1, 8, 8) and batch.actions.shape == (500, length, 1)
    position, step, episode = batch.observations[..., 0, 0, :3].int().unbind(-1)
    change = position.diff(dim=1)
    th.testing.assert_close(change, (10 * batch.actions[..., 0]).round().int())
    th.testing.assert_close(batch.rewards, batch.actions[..., 0])
    assert bool((step.diff(dim=1) == 1).all()), "consecutive"
    assert bool((episode == episode[:, :1]).all()), "of one episode"
    if length > 1:
        shifted = (10 * batch.actions[:, 1:, 0]).round().int()
        assert not th.equal(change[:, :-1], shifted)


def test_every_place_is_drawn() -> None:
    """This includes the last image of an episode, which is not the first of the next one."""
    sampler = SequenceSampler(collected(100), 2, "observation")
    batch = sampler.sample(2000, np.random.default_rng(0))
    last = batch.observations[:, -1, 0, 0, 1].unique().tolist()
    assert last == list(range(2, LIMIT + 1))


def test_images_only() -> None:
    env = make_vec_env(Walk, 1, env_kwargs={"with_goal": False}, seed=0)
    agent = E2C(
        "CnnPolicy", env, n_collected=20, gradient_steps=1, batch_size=2, policy_kwargs={"hidden": (4,)}, seed=0
    )
    agent.learn(20)
    assert agent.replay_buffer is not None
    batch = SequenceSampler(agent.replay_buffer, 2).sample(5, np.random.default_rng(0))
    assert batch.observations.shape == (5, 3, 1, 8, 8)


def test_sequences_that_there_are_not() -> None:
    with pytest.raises(
        ValueError,
        match="`sequence_length` must be at most 6, the longest part of an episode that was collected, got 7",
    ):
        SequenceSampler(collected(50), LIMIT + 1, "observation")


@pytest.mark.parametrize("loaded", [False, True])
def test_a_second_training_begins_another_episode(tmp_path: Path, loaded: bool) -> None:
    """SB3 resets the environment without marking the last step as an end."""
    env = make_vec_env("Pendulum-v1", 1, seed=0)
    agent = SAC("MlpPolicy", env, learning_starts=1000, policy_kwargs={"net_arch": [4]}, seed=0, device="cpu")
    agent.learn(130)
    if loaded:
        agent.save(tmp_path / "agent")
        agent.save_replay_buffer(tmp_path / "buffer")
        agent = SAC.load(tmp_path / "agent", env)
        agent.load_replay_buffer(tmp_path / "buffer", truncate_last_traj=False)
    agent.learn(130)
    assert agent.replay_buffer is not None and agent.replay_buffer.dones.sum() == 0
    sampler = SequenceSampler(agent.replay_buffer, 5)
    assert len(sampler._starts) == 2 * (130 - 5 + 1)
    batch = sampler.sample(3000, np.random.default_rng(0))
    assert float(batch.observations[..., :2].diff(dim=1).abs().max()) < 0.5, "0.05 s at a speed of at most 8"


def test_normalized_environments() -> None:
    """The model is fitted to normalized observations, as the policy receives them."""
    env = VecNormalize(make_vec_env("Pendulum-v1", 1, seed=0))
    agent = SAC("MlpPolicy", env, learning_starts=1000, policy_kwargs={"net_arch": [4]}, seed=0, device="cpu")
    agent.learn(60)
    buffer = agent.replay_buffer
    assert buffer is not None
    raw = SequenceSampler(buffer, 3).sample(50, np.random.default_rng(0))
    seen = SequenceSampler(buffer, 3, env=env).sample(50, np.random.default_rng(0))
    expected: Any = env.normalize_obs(raw.observations.numpy().reshape(-1, 3))
    np.testing.assert_allclose(seen.observations, expected.reshape(50, 4, 3), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen.rewards, env.normalize_reward(raw.rewards.numpy()), rtol=1e-5)
    assert not th.allclose(raw.observations, seen.observations, atol=0.1)
