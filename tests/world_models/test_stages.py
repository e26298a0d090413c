"""All stages at tiny sizes on the real environment, each interrupted and resumed."""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

import ardae_envs  # noqa: F401
from ardae_envs.collection import StickyRandom
from ardae_rl.runs.run import Run
from ardae_rl.world_models.collection import open_store
from ardae_rl.world_models.data import FrameStore, LatentStore, collect
from ardae_rl.world_models.memory_stage import MemoryStage, encode_frames
from ardae_rl.world_models.policies import POSTERIORS, WorldModelPolicy
from ardae_rl.world_models.search_stage import SearchStage, dream_starts, make_evaluator
from ardae_rl.world_models.vision_stage import VisionStage

STEPS = 12


def make_env() -> gym.Env[Any, Any]:
    return gym.make("ardae/CarRacingFast-v0", max_episode_steps=STEPS)


def policy(seed: int = 0, **arguments: Any) -> WorldModelPolicy:
    th.manual_seed(seed)
    env = make_env()
    small: dict[str, Any] = {"z_dim": 4, "vision_width": 4, "memory_hidden": 8}
    return WorldModelPolicy(env.observation_space, env.action_space, **small, **arguments)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    model = policy()
    result = open_store(model, tmp_path_factory.mktemp("frames") / "store")
    collect(
        result, make_env, StickyRandom(model.action_space, seed=0), n_episodes=12, n_envs=4, preprocess=model.preprocess
    )
    return result


@pytest.fixture(scope="module")
def latents(store: FrameStore, tmp_path_factory: pytest.TempPathFactory) -> LatentStore:
    return encode_frames(policy(), store, tmp_path_factory.mktemp("latents") / "store")


class Interrupted(Run):
    """Stops at its second report after the first checkpoint."""

    def report(self, done: int, total: int, note: str = "") -> None:
        if done == 6:
            raise KeyboardInterrupt


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_vision(posterior: str, store: FrameStore, tmp_path: Path) -> None:
    """The parameters do not depend on interruptions, or on validation between the steps."""
    train = partial(VisionStage(n_steps=8, batch_size=16), store=store, every=4)
    whole, parts, third, continued = (policy(seed, posterior=posterior) for seed in (0, 0, 1, 1))
    records = train(whole, run=Run(tmp_path / "whole"))
    assert [row["step"] for row in records] == [4, 8]
    assert {"reconstruction", "kl", "validation_error", "validation_kl", "active_units"} <= records[0].keys()
    assert records[1]["validation_error"] < records[0]["validation_error"]
    with pytest.raises(KeyboardInterrupt):
        train(parts, run=Interrupted(tmp_path / "parts"))
    assert train(third, run=Run(tmp_path / "parts")) == records
    train(continued, run=Run(tmp_path / "parts"))
    for a, b in zip(whole.vision.parameters(), continued.vision.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_memory(store: FrameStore, latents: LatentStore, tmp_path: Path) -> None:
    train = partial(MemoryStage(n_steps=8, sequence_length=10, batch_size=4), store=store, latents=latents, every=4)
    whole, continued = policy(), policy(1)
    records = train(whole, run=Run(tmp_path / "whole"))
    assert {"nll", "reward_error", "done_entropy", "validation_nll", "error_1", "copy_5"} <= records[0].keys()
    with pytest.raises(KeyboardInterrupt):
        train(policy(), run=Interrupted(tmp_path / "parts"))
    assert train(continued, run=Run(tmp_path / "parts")) == records
    for a, b in zip(whole.memory.parameters(), continued.memory.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_dreams_start_where_episodes_do(store: FrameStore, latents: LatentStore) -> None:
    model, (mean, log_std) = policy(), dream_starts(latents)
    firsts = th.from_numpy(np.stack([episode.frames[0] for episode in store]))
    expected = model.vision.encode(firsts)
    th.testing.assert_close((mean, log_std), expected, atol=2e-3, rtol=2e-3)  # kept in half precision
    assert len(mean) == len(store)


def test_latents_of_another_vision_are_refused(store: FrameStore, latents: LatentStore) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        encode_frames(policy(1), store, latents.files.folder)


def test_controller(tmp_path: Path) -> None:
    """The best mean is loaded into the policy, which acts in the official environment as in the search."""
    search = SearchStage(n_generations=2, population_size=3, seeds_per_generation=1, evaluate_every=1, n_held_out=1)
    model = policy()
    with make_evaluator(model, make_env, n_envs=3) as evaluator:
        evolution = search(model, evaluator, Run(tmp_path))
    assert len(evolution.rows) == 3 and evolution.best_mean is not None
    np.testing.assert_allclose(model.controller_parameters, evolution.best_mean, atol=1e-6)
    # The search and the official evaluation play the same episodes, from the first step to the last
    official = DummyVecEnv([lambda: gym.make("CarRacing-v3", max_episode_steps=STEPS)])
    official.seed(0)
    returns, _ = evaluate_policy(model, official, n_eval_episodes=1, deterministic=True, warn=False)
    assert returns == pytest.approx(evolution.best_return, abs=1e-4)
    again = policy()
    with make_evaluator(again, make_env, n_envs=3) as evaluator:
        resumed = search(again, evaluator, Run(tmp_path))
    np.testing.assert_array_equal(resumed.best_mean, evolution.best_mean)
