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
from ardae_rl.world_models.data import FrameStore, LatentStore, SequenceBatch, collect
from ardae_rl.world_models.memory_loss import memory_loss
from ardae_rl.world_models.memory_stage import MemoryStage, encode_frames
from ardae_rl.world_models.policies import POSTERIORS, WorldModelPolicy
from ardae_rl.world_models.ppo_stage import PPOStage
from ardae_rl.world_models.search_stage import SearchStage, dream_starts, make_evaluator
from ardae_rl.world_models.stage import Stage, steps_in_round
from ardae_rl.world_models.vision_stage import VisionStage
from tests.world_models.brightness import Brightness

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


COUNTS: dict[type[Stage], tuple[str, ...]] = {
    VisionStage: ("n_steps", "batch_size"),
    MemoryStage: ("n_steps", "sequence_length", "batch_size"),
    SearchStage: ("n_generations", "seeds_per_generation", "evaluate_every", "n_held_out", "patience"),
    PPOStage: ("n_steps", "n_epochs", "evaluate_every", "n_held_out", "n_tested", "patience"),
}
# The smallest and the largest value that is allowed (None if there is none), and values beyond them
BOUNDS: list[tuple[type[Stage], str, tuple[float | None, ...], tuple[float, ...]]] = [
    *((stage, field, (1,), (0,)) for stage, fields in COUNTS.items() for field in fields),
    *((stage, "learning_rate", (1e-9,), (0.0, -0.1)) for stage in (VisionStage, MemoryStage, PPOStage)),
    *((MemoryStage, field, (0.0,), (-0.01,)) for field in ("reward_weight", "done_weight")),
    (MemoryStage, "done_factor", (1e-9,), (0.0,)),
    (SearchStage, "temperature", (0.0,), (-0.01,)),
    (SearchStage, "sigma", (1e-9,), (0.0,)),
    (SearchStage, "population_size", (3,), (2,)),
    *((stage, "patience", (None,), ()) for stage in (SearchStage, PPOStage)),
    *((stage, "n_held_out", (10_000,), (10_001,)) for stage in (SearchStage, PPOStage)),
    (PPOStage, "n_tested", (20_000,), (20_001,)),
    (PPOStage, "batch_size", (2,), (1,)),
    *((PPOStage, field, (1e-9,), (0.0,)) for field in ("clip_range", "target_kl")),
    *((PPOStage, field, (0.0, 1.0), (-0.01, 1.01)) for field in ("gamma", "averaging")),
    *((PPOStage, field, (0.0,), (-0.01,)) for field in ("bonus", "sharpening")),
]


@pytest.mark.parametrize(("stage", "field", "allowed", "refused"), BOUNDS)
def test_bounds_of_settings(
    stage: Any, field: str, allowed: tuple[float | None, ...], refused: tuple[float, ...]
) -> None:
    for value in allowed:
        assert getattr(stage(**{field: value}), field) == value
    for value in refused:
        with pytest.raises(ValueError, match=rf"`{stage.argument}\['{field}'\]` must be .*, got {value}"):
            stage(**{field: value})


def test_later_rounds_have_half_the_steps() -> None:
    assert [steps_in_round(n, iteration) for n in (1, 5, 8) for iteration in (0, 1, 2)] == [1, 1, 1, 5, 2, 2, 8, 4, 4]


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


class Shade(Brightness):
    """All frames and rewards of an episode show its seed."""

    def step(self, action: Any) -> Any:
        self.t += 1
        return self._frame(), self.level, self.t == 5, False, {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None
        super().reset(seed=seed)
        self.level = float(seed)
        return self._frame(), {}


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """Twenty episodes with the seeds 100, 101, ..."""
    space = Shade.action_space
    result = open_store(WorldModelPolicy(Shade.observation_space, space), tmp_path_factory.mktemp("shades") / "store")
    collect(result, Shade, StickyRandom(space, seed=0), n_episodes=20, n_envs=20, seed=100)
    return result


class Seen:
    """Numbers that a loss was computed for, by whether it was differentiated."""

    def __init__(self) -> None:
        self.training: set[float] = set()
        self.validation: set[float] = set()

    def add(self, values: th.Tensor) -> None:
        (self.training if th.is_grad_enabled() else self.validation).update(values.tolist())

    def check(self) -> None:
        """Check that each of the twenty episodes was used for one purpose, and about a tenth of them for validation."""
        assert not self.training & self.validation
        assert self.training | self.validation == {*range(100, 120)}
        assert 1 <= len(self.validation) <= 4


def test_vision_is_validated_with_other_episodes(
    shades: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, model = Seen(), policy()
    loss = model.vision.loss

    def recorded(frames: th.Tensor) -> Any:
        seen.add(frames[:, 0, 0, 0])
        return loss(frames)

    monkeypatch.setattr(model.vision, "loss", recorded)
    VisionStage(n_steps=4, batch_size=64)(model, shades, Run(tmp_path), seed=4)
    seen.check()


def test_memory_is_validated_with_other_episodes(
    shades: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    model = WorldModelPolicy(Shade.observation_space, Shade.action_space, z_dim=4, vision_width=4, memory_hidden=8)

    def recorded(memory: Any, batch: SequenceBatch, *weights: Any) -> Any:
        seen.add(batch.rewards[batch.mask])
        return memory_loss(memory, batch, *weights)

    monkeypatch.setattr("ardae_rl.world_models.memory_stage.memory_loss", recorded)
    latents = encode_frames(model, shades, tmp_path / "latents")
    MemoryStage(n_steps=4, sequence_length=3, batch_size=64)(model, shades, latents, Run(tmp_path), seed=4)
    seen.check()


def test_final_learning_rates(store: FrameStore, latents: LatentStore, tmp_path: Path) -> None:
    """A tenth and a hundredth of the initial ones."""
    VisionStage(n_steps=2, learning_rate=0.02, batch_size=4)(policy(), store, Run(tmp_path))
    MemoryStage(n_steps=2, learning_rate=0.02, sequence_length=5)(policy(), store, latents, Run(tmp_path))
    states = [th.load(tmp_path / f"{name}.pt", weights_only=True)["parts"] for name in ("vision", "memory")]
    rates = [state["optimizer"]["param_groups"][0]["lr"] for state in states]
    assert rates == pytest.approx([0.002, 0.0002])


def test_gradients_of_the_memory_are_limited(store: FrameStore, latents: LatentStore, tmp_path: Path) -> None:
    """To a norm of 1, also where the loss is steep."""
    model = policy()
    MemoryStage(n_steps=1, sequence_length=5, reward_weight=1e6)(model, store, latents, Run(tmp_path))
    gradients = [parameter.grad.flatten() for parameter in model.memory.parameters() if parameter.grad is not None]
    assert float(th.cat(gradients).norm()) == pytest.approx(1, rel=1e-3)


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
