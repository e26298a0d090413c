"""Beta distributions on [-1, 1], against numerical integration and torch's own."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import RescaleAction
from stable_baselines3 import PPO

from ardae_rl.world_models.beta import BetaDistribution, BetaPolicy

PARAMETERS = th.tensor([[0.5, -1.0, 2.0, 1.0], [3.0, 0.0, -2.0, 4.0]])


def test_density_and_entropy() -> None:
    """On a fine grid of one dimension at a time: the density has mass 1, and its entropy is the distribution's."""
    for row in PARAMETERS:
        for j in range(2):
            distribution = BetaDistribution(1).proba_distribution(row[[j, j + 2]].unsqueeze(0))
            x = (th.arange(200_000) + 0.5) / 100_000 - 1
            log_prob = distribution.log_prob(x.unsqueeze(1))
            mass = log_prob.exp() / 100_000
            assert abs(float(mass.sum()) - 1) < 1e-4
            assert abs(float(-(mass * log_prob).sum() - distribution.entropy())) < 1e-3
            assert abs(float(x[log_prob.argmax()] - distribution.mode())) < 1e-3  # of a maximum that is flat


def test_joint_log_prob_is_the_sum() -> None:
    actions = th.tensor([[0.3, -0.8], [-0.1, 0.9]])
    joint = BetaDistribution(2).proba_distribution(PARAMETERS).log_prob(actions)
    parts = [
        BetaDistribution(1).proba_distribution(PARAMETERS[:, [j, j + 2]]).log_prob(actions[:, [j]]) for j in range(2)
    ]
    th.testing.assert_close(joint, parts[0] + parts[1])


def test_samples_have_the_mean() -> None:
    th.manual_seed(0)
    distribution = BetaDistribution(2).proba_distribution(PARAMETERS[:1].expand(100_000, -1))
    expected = 2 * distribution.distribution.mean[0] - 1
    samples = distribution.sample()
    assert samples.abs().max() <= 1
    assert ((samples.mean(0) - expected).abs() < 4 * samples.std(0) / 100_000**0.5).all()


def test_bounds_have_finite_log_densities() -> None:
    distribution = BetaDistribution(2).proba_distribution(PARAMETERS)
    assert distribution.log_prob(th.ones(2, 2)).isfinite().all()


def test_initial_weights_are_those_of_sb3() -> None:
    """Orthogonal, with the gains of SB3's actor-critic policy: √2 in hidden layers, 0.01 and 1 in the outputs."""
    env = RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1))
    policy: Any = PPO(BetaPolicy, env, n_steps=64, batch_size=32, seed=0, device="cpu").policy
    hidden = policy.mlp_extractor.policy_net[2].weight  # (64, 64)
    for weight, gain in ((hidden, 2**0.5), (policy.action_net.weight, 0.01), (policy.value_net.weight, 1.0)):
        th.testing.assert_close(weight @ weight.T, gain**2 * th.eye(len(weight)), atol=1e-5, rtol=0)
    initial = BetaPolicy(env.observation_space, env.action_space, lambda share_left: 0.1 * share_left).optimizer
    assert initial.param_groups[0]["lr"] == 0.1


def test_ppo_trains_and_loads(tmp_path) -> None:  # type: ignore[no-untyped-def]
    env = RescaleAction(gym.make("Pendulum-v1"), np.float32(-1), np.float32(1))
    model = PPO(BetaPolicy, env, n_steps=64, batch_size=32, seed=0, device="cpu").learn(128)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model", device="cpu")
    obs = env.observation_space.sample()
    assert (loaded.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]).all()


def test_other_action_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`action_space` must be a Box of \[-1, 1\]"):
        PPO(BetaPolicy, "Pendulum-v1")
