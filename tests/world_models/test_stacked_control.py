"""Controllers of stacked frames: they start at V's features, and act on frames as they were trained."""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from ardae_rl.world_models.action_map import make_action_map
from ardae_rl.world_models.beta import BetaPolicy
from ardae_rl.world_models.controller_envs import ControllerView, FlatStacks
from ardae_rl.world_models.evolution import RolloutEvaluator
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stacked_control import StackedPolicy, StackedVision, actor_arguments, frames_in, stacks_space
from ardae_rl.world_models.vision import ConvVAE, as_images

N_FRAMES, WIDTH, LENGTH = 3, 4, 5


class Noise(gym.Env[Any, Any]):
    """Random frames of 96 x 96 pixels; the reward is the first action."""

    observation_space = spaces.Box(0, 255, (96, 96, 3), np.uint8)
    action_space = spaces.Box(np.array([0, -3], np.float32), np.array([4, 3], np.float32))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._frame(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self._step += 1
        return self._frame(), float(action[0]), self._step == LENGTH, False, {}

    def _frame(self) -> Any:
        return self.np_random.integers(256, size=(96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def agent() -> PPO:
    venv = FlatStacks(DummyVecEnv([lambda: ControllerView(Noise())] * 2), N_FRAMES)
    arguments: dict[str, Any] = {"policy_kwargs": actor_arguments(WIDTH, [8]), "seed": 0, "device": "cpu"}
    return PPO(BetaPolicy, venv, n_steps=8, batch_size=8, n_epochs=1, **arguments).learn(16)


def _same(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return env


def test_starts_at_the_features_of_the_newest_frame() -> None:
    th.manual_seed(0)
    vision = ConvVAE(z_dim=2, width=WIDTH)
    extractor = StackedVision(stacks_space(N_FRAMES), WIDTH)
    extractor.start_from(vision.encoder.state_dict())
    frames = th.randint(256, (2, 64, 64, 3 * N_FRAMES), dtype=th.uint8)
    stack = frames.flatten(1).float()
    th.testing.assert_close(extractor(stack), vision.encoder(as_images(frames[..., -3:])))
    assert extractor.features_dim == extractor(stack).shape[1]
    # The older frames take part in training
    extractor(stack).square().sum().backward()
    assert (extractor.encoder[0].weight.grad[:, :3] != 0).any()


def test_bfloat16() -> None:
    """Features and gradients are those of single precision, up to rounding. Bytes and floats give the same ones."""
    th.manual_seed(0)
    extractor = StackedVision(stacks_space(N_FRAMES), WIDTH)
    stacks = th.randint(256, (8, 64 * 64 * 3 * N_FRAMES), dtype=th.uint8)
    results = []
    for extractor.in_bfloat16 in (False, True):
        features = extractor(stacks)
        th.testing.assert_close(extractor(stacks.float()), features)
        extractor.zero_grad()
        features.square().sum().backward()
        results.append((features.detach(), extractor.encoder[0].weight.grad.clone()))
    for single, half in zip(*results, strict=True):
        assert half.dtype == th.float32 and not th.equal(half, single)
        assert float((half - single).norm() / single.norm()) < 0.02


@pytest.mark.parametrize("n_frames", [1, 4])
def test_number_of_frames_in_a_space(n_frames: int) -> None:
    space = stacks_space(n_frames)
    assert frames_in(space) == n_frames and space == spaces.Box(0, 255, (64 * 64 * 3 * n_frames,), np.uint8)


def test_spaces_of_the_view() -> None:
    env = ControllerView(Noise())
    assert env.observation_space == spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert env.action_space == spaces.Box(-1, 1, (2,))
    frame, _ = env.reset(seed=0)
    assert env.observation_space.contains(frame)


def test_plays_as_it_was_trained(agent: PPO) -> None:
    """Decisions on frames equal those of the actor on the stacks of ``VecFrameStack``, over ends of episodes."""
    policy = StackedPolicy(agent.policy, make_action_map("auto", Noise.action_space))
    views, frames = [ControllerView(Noise()) for _ in range(2)], [Noise() for _ in range(2)]
    venv = FlatStacks(DummyVecEnv([partial(_same, view) for view in views]), N_FRAMES)
    for i, env in enumerate(frames):
        views[i].reset(seed=i)
        env.reset(seed=i)
    stacks: Any = venv.reset()
    observations = np.stack([env.reset()[0] for env in frames])
    state, start = None, np.ones(2, bool)
    for _ in range(LENGTH + 3):
        outputs, _ = agent.policy.predict(stacks, deterministic=True)
        actions, state = policy.decide(observations, state, start, deterministic=True)
        np.testing.assert_allclose(actions, policy.action_map.actions(outputs), rtol=1e-5)
        stacks, _, start, _ = venv.step(outputs)
        for i, env in enumerate(frames):
            observations[i] = env.step(actions[i])[0]
            if start[i]:
                observations[i] = env.reset()[0]


def frames_policy(agent: PPO, action_repeat: int = 1) -> WorldModelPolicy:
    small: dict[str, Any] = {"z_dim": 2, "vision_width": WIDTH, "memory_hidden": 4, "controller_hidden": [8]}
    form: dict[str, Any] = {"controller_input": "frames", "n_frames": N_FRAMES, "action_repeat": action_repeat}
    policy = WorldModelPolicy(Noise.observation_space, Noise.action_space, **small, **form)
    assert policy.stacked_policy is not None
    policy.stacked_policy.actor.load_state_dict(agent.policy.state_dict())
    return policy


def test_holds_actions_and_is_saved(agent: PPO, tmp_path: Path) -> None:
    policy = frames_policy(agent, action_repeat=2)
    path = str(tmp_path / "policy.pt")
    policy.save(path)
    loaded = WorldModelPolicy.load(path, device="cpu")
    assert loaded.arguments == policy.arguments
    rng = np.random.default_rng(0)
    first, second = rng.integers(256, size=(2, 96, 96, 3), dtype=np.uint8)
    for each in (policy, loaded):
        action, state = each.predict(first, deterministic=True)
        held, _ = each.predict(second, state, deterministic=True)
        np.testing.assert_array_equal(action, held)
    np.testing.assert_array_equal(policy.predict(first, deterministic=True)[0], action)


def test_evaluator_drives_it(agent: PPO) -> None:
    with RolloutEvaluator(Noise, frames_policy(agent), n_envs=2) as evaluator:
        result = evaluator.evaluate(np.zeros((1, 0)), seeds=[0, 1, 2])
    assert (result.lengths == LENGTH).all() and (result.returns > 0).all()


def test_bad_arguments() -> None:
    for shape in ((4, 64, 64), (64 * 64 * 4,), (0,)):
        with pytest.raises(ValueError, match=r"`observation_space` must be of shape \(64 \* 64 \* 3 n,\), got Box"):
            StackedVision(spaces.Box(0, 255, shape, np.uint8))
    extractor = StackedVision(stacks_space(N_FRAMES), WIDTH)
    with pytest.raises(ValueError, match="`encoder` must have the width 4, got 8"):
        extractor.start_from(ConvVAE(2, 8).encoder.state_dict())
