"""Dreams with a memory whose predictions are set by hand."""

import math
import re

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO

from ardae_rl.world_models.dream import Dream, DreamEvaluator, DreamVecEnv, Noise
from ardae_rl.world_models.policies import WorldModelPolicy

Z_DIM = 2


def dream(done_logit: float = -20.0, reward: float = 2.0, temperature: float = 1.0) -> Dream:
    """The next latent is N((3, -1), 0.5²) whatever went before, the reward constant."""
    th.manual_seed(0)
    frames = spaces.Box(0, 255, (96, 96, 3), np.uint8)
    policy = WorldModelPolicy(
        frames, spaces.Discrete(3), z_dim=Z_DIM, vision_width=4, memory_hidden=4, n_components=1, mixture_form="joint"
    )
    head = policy.memory.head
    head.weight.data.zero_()
    # One logit, two means, two log scales (softly bounded: a log scale a little above its raw value), reward and end
    head.bias.data = th.tensor([0.0, 3.0, -1.0, math.log(0.5), math.log(0.5), reward, done_logit])
    starts = th.tensor([[10.0, 0.0], [20.0, 0.0]]), th.full((2, 2), -5.0)
    return Dream(policy, starts, temperature)


def generators(n: int) -> list[th.Generator]:
    return [th.Generator().manual_seed(i) for i in range(n)]


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_latents(temperature: float) -> None:
    """They start from those of real episodes, then follow the memory's density at the temperature."""
    at = dream(temperature=temperature).begin(generators(2000))
    share = float((at.z[:, 0] < 15).float().mean())
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(2000)
    th.testing.assert_close(at.z[:, 0], th.where(at.z[:, 0] < 15, 10.0, 20.0), atol=0.1, rtol=0)
    at, rewards, done = dream(temperature=temperature).step(at, np.zeros(2000, np.int64), th.Generator())
    th.testing.assert_close(at.z.mean(0), th.tensor([3.0, -1.0]), atol=0.06, rtol=0)
    th.testing.assert_close(at.z.std(0), th.full((2,), 0.5 * math.sqrt(temperature)), atol=0.04, rtol=0)
    np.testing.assert_allclose(rewards, 2.0)
    assert not done.any()


def test_memory_goes_on_with_the_dream() -> None:
    """Its state follows from the imagined latent and the action."""
    d = dream()
    first = d.begin(generators(3))
    second, _, _ = d.step(first, np.array([0, 1, 2]), th.Generator())
    expected = d.policy.memory.step(first.z, th.eye(3), first.memory)
    th.testing.assert_close(second.memory, expected)


def test_ends() -> None:
    """Episodes end with the predicted probability."""
    d = dream(done_logit=math.log(0.25 / 0.75))
    *_, done = d.step(d.begin(generators(2000)), np.zeros(2000, np.int64), th.Generator())
    assert abs(done.mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 2000)


def test_weighted_ends_are_as_likely_as_real_ones() -> None:
    """A memory trained with a weight of 9 on ends predicts nine times the real odds: 1 to 1 for 1 in 10."""
    policy, starts = dream(done_logit=0.0).policy, (th.zeros(1, 2), th.zeros(1, 2))
    d = Dream(policy, starts, done_factor=9.0)
    *_, done = d.step(d.begin(generators(2000)), np.zeros(2000, np.int64), th.Generator())
    assert abs(done.mean() - 0.1) < 5 * math.sqrt(0.1 * 0.9 / 2000)


def test_evaluator() -> None:
    """Episodes have geometric lengths, given by the memory's predictions, or are truncated."""
    endless = DreamEvaluator(dream(), max_steps=7)
    parameters = np.zeros((3, endless.dream.policy.n_parameters))
    result = endless.evaluate(parameters, [0, 1])
    assert (result.lengths == 7).all() and result.returns == pytest.approx(14.0 * np.ones((3, 2)))

    short = DreamEvaluator(dream(done_logit=math.log(0.2 / 0.8)), max_steps=1000)
    lengths = short.evaluate(parameters[:1], range(1000)).lengths
    assert abs(lengths.mean() - 5) < 5 * math.sqrt(20 / 1000)
    np.testing.assert_allclose(
        short.evaluate(parameters, [0, 1]).returns / 2, short.evaluate(parameters, [0, 1]).lengths
    )
    with pytest.raises(ValueError, match="`parameters` must have shape"):
        short.evaluate(parameters[:, 1:], [0])


@pytest.mark.parametrize("form", ["joint", "per_dimension"])
def test_common_random_numbers(form: str) -> None:
    """A return depends only on the candidate and its seed, not on other candidates, seeds, or the number of workers."""
    th.manual_seed(0)
    frames = spaces.Box(0, 255, (96, 96, 3), np.uint8)
    policy = WorldModelPolicy(
        frames, spaces.Discrete(3), z_dim=Z_DIM, vision_width=4, memory_hidden=4, n_components=3, mixture_form=form
    )
    policy.memory.head.bias.data[-1] = -5.0  # some dreams end, others go on into a second block of random numbers
    evaluator = DreamEvaluator(Dream(policy, (th.randn(5, Z_DIM), th.zeros(5, Z_DIM))), max_steps=100)
    candidates = np.random.default_rng(0).normal(size=(3, policy.n_parameters))
    candidates = np.concatenate([candidates, candidates[:1]])
    seeds = [7, 2**31 - 1, 7, 0]
    together = evaluator.evaluate(candidates, seeds)
    assert len(np.unique(together.returns[1:, [0, 1, 3]])) == 9
    assert together.lengths.min() < 64 < together.lengths.max()
    np.testing.assert_array_equal(together.lengths[0], together.lengths[3])
    np.testing.assert_allclose(together.returns[0], together.returns[3], rtol=1e-4)
    np.testing.assert_allclose(together.returns[:, 0], together.returns[:, 2], rtol=1e-4)
    for row, candidate in enumerate(candidates):
        for column, seed in enumerate(seeds):
            alone = evaluator.evaluate(candidate[None], [seed])
            assert alone.lengths[0, 0] == together.lengths[row, column]
            np.testing.assert_allclose(alone.returns[0, 0], together.returns[row, column], rtol=1e-4)


def test_vectorised() -> None:
    """Features, automatic resets with the last features in the info, and truncation at the maximum length."""
    d = dream()
    env = DreamVecEnv(d, 4, max_steps=3)
    env.seed(0)
    first = np.asarray(env.reset())
    assert first.shape == (4, d.policy.n_features) and env.observation_space.contains(first[0])
    assert (first[:, Z_DIM:] == 0).all() and (first[:, 0] > 5).all()
    for step in range(3):
        stepped, rewards, dones, infos = env.step(np.array([env.action_space.sample() for _ in range(4)]))
        observations = np.asarray(stepped)
        assert (rewards == 2.0).all() and (dones == (step == 2)).all()
    assert all(info["TimeLimit.truncated"] and abs(info["terminal_observation"][0] - 3) < 3 for info in infos)
    assert (observations[:, Z_DIM:] == 0).all() and (observations[:, 0] > 5).all()
    assert env.get_images()[0].shape == (64, 64, 3)
    env.seed(0)
    np.testing.assert_array_equal(env.reset(), first)


def test_episodes_of_the_vectorised_dream() -> None:
    """Each has the full length and begins with an empty memory. Observations are unbounded."""
    d = dream()
    env = DreamVecEnv(d, 2, max_steps=2)
    env.reset()
    ends, actions = [], np.zeros(2, np.int64)
    for _ in range(6):
        observations, _, dones, _ = env.step(actions)
        ends.append(bool(dones.all()))
        assert bool((np.asarray(observations)[:, Z_DIM:] == 0).all()) == ends[-1]
    assert ends == [False, True] * 3
    assert env.observation_space == spaces.Box(-np.inf, np.inf, (d.policy.n_features,), np.float32)
    assert env.env_is_wrapped(gym.Wrapper) == [False, False]


def test_impossible_ends_never_happen() -> None:
    """Not even for the smallest random number, which is 0."""
    d = dream(done_logit=-1000.0)
    noise = Noise(th.zeros(3, 2), th.zeros(3, Z_DIM))
    *_, done = d.advance(d.begin(generators(3)), np.zeros(3, np.int64), noise)
    assert not done.any()


def test_sb3_trains_in_it() -> None:
    model = PPO("MlpPolicy", DreamVecEnv(dream(), 4, max_steps=10), n_steps=16, batch_size=32, seed=0)
    assert model.learn(128).num_timesteps == 128


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`temperature` must be >= 0, got -1"):
        dream(temperature=-1.0)
    with pytest.raises(ValueError, match=r"`starts` must both have shape \(m, 2\) with m >= 1, got \(0, 2\)"):
        Dream(dream().policy, (th.zeros(0, 2), th.zeros(0, 2)))
    for shapes in ((3, 2), (4, 2)), ((3, 1), (3, 1)), ((2,), (2,)):
        with pytest.raises(ValueError, match=re.escape(f"m >= 1, got {shapes[0]} and {shapes[1]}")):
            Dream(dream().policy, (th.zeros(shapes[0]), th.zeros(shapes[1])))
    with pytest.raises(ValueError, match="`max_steps` must be >= 1, got 0"):
        DreamVecEnv(dream(), 1, 0)
