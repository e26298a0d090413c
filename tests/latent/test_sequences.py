"""Sequences from SB3's buffers: whole, in order, and each action beside the change that it caused."""

from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

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
    """Action t and reward t belong to the change from image t to image t + 1: it fails for any shift."""
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
    """Also the last image of an episode, which is not the first of the next one."""
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
    with pytest.raises(ValueError, match="`length` must be at most 6, the length of the longest episode, got 7"):
        SequenceSampler(collected(50), LIMIT + 1, "observation")
