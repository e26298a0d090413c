"""ln π of SB3's algorithms and ours, compared with their own densities and integrated."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC

from ardae_rl import SACARDAE
from ardae_rl.irl.log_density import has_density, policy_log_prob
from tests.conftest import untrained


def observations(model: Any, n: int) -> th.Tensor:
    rng = np.random.default_rng(0)
    return th.as_tensor(rng.normal(size=(n, 3)), dtype=th.float32, device=model.device)


@pytest.mark.parametrize("algo", ["sac", "tqc", "crossq"])
def test_squashed_gaussians(algo: str) -> None:
    """As the actor's own log probability of what it samples, in units of [-1, 1], where the environment has [-2, 2]."""
    model: Any = untrained(algo, seed=0)
    model.policy.set_training_mode(False)
    obs = observations(model, 200)
    with th.no_grad():
        scaled, log_prob = model.policy.actor.action_log_prob(obs)
    inside = scaled.abs().max(-1).values < 0.999
    th.testing.assert_close(policy_log_prob(model, obs, 2 * scaled)[inside], log_prob[inside], atol=2e-3, rtol=0)


@pytest.mark.parametrize("algo", ["sac", "sac_nf", "tqc", "crossq"])
def test_densities_integrate_to_one(algo: str) -> None:
    """Over scaled actions, by the midpoint rule; the clipped margin is negligible."""
    model = untrained(algo, seed=0)
    grid = (th.arange(4000) + 0.5) / 2000 - 1
    obs = observations(model, 3)
    for row in obs:
        log_prob = policy_log_prob(model, row.expand(len(grid), -1), 2 * grid[:, None])
        assert float(log_prob.exp().mean() * 2) == pytest.approx(1, abs=5e-3)


def test_state_dependent_exploration() -> None:
    model = untrained("sac", seed=0, use_sde=True)
    grid = (th.arange(4000) + 0.5) / 2000 - 1
    log_prob = policy_log_prob(model, observations(model, 1).expand(len(grid), -1), 2 * grid[:, None])
    assert float(log_prob.exp().mean() * 2) == pytest.approx(1, abs=5e-3)


def test_sacardae_is_its_own_estimate() -> None:
    """Per unit of [-1, 1]: twice the density per unit of [-2, 2]."""
    model = SACARDAE("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8]}, device="cpu")
    obs, actions = observations(model, 5), th.linspace(-1.5, 1.5, 5)[:, None]
    expected = model.policy.log_prob(obs, actions) + math.log(2)
    th.testing.assert_close(policy_log_prob(model, obs, actions), expected)


@pytest.mark.parametrize(("algo", "env", "actions"), [("ppo", "Pendulum-v1", 1), ("a2c", "CartPole-v1", 0)])
def test_on_policy(algo: str, env: str, actions: int) -> None:
    model: Any = untrained(algo, env, seed=0)
    obs = th.as_tensor(np.stack([model.observation_space.sample() for _ in range(6)])).clamp(-5, 5)
    with th.no_grad():
        acted, _, log_prob = model.policy(obs)
    th.testing.assert_close(policy_log_prob(model, obs, acted), log_prob)


@pytest.mark.parametrize("bound", [-2.0, 2.0])
def test_margin(bound: float) -> None:
    """In the strip at a bound, the density is the mean density of the strip, here by the midpoint rule."""
    model = untrained("sac", seed=0)
    margin, n = 0.01, 2000
    obs = observations(model, 1)
    at_bound = policy_log_prob(model, obs, th.tensor([[bound]]), margin)
    strip = bound * (1 - margin * (th.arange(n) + 0.5) / n)
    mean = policy_log_prob(model, obs.expand(n, -1), strip[:, None], margin=1e-6).exp().mean()
    th.testing.assert_close(at_bound.exp()[0], mean, atol=0, rtol=1e-3)
    just_inside = th.tensor([[bound * (1 - 1.001 * margin)]])
    expected = policy_log_prob(model, obs, just_inside)
    th.testing.assert_close(policy_log_prob(model, obs, just_inside, margin), expected)


def test_margin_of_other_policies() -> None:
    """In the strip at the bounds, the density of a flow is that at the strip's inner edge."""
    model = untrained("sac_nf", seed=0)
    obs = observations(model, 1)
    at_bound = policy_log_prob(model, obs, th.tensor([[2.0]]), margin=0.01)
    th.testing.assert_close(at_bound, policy_log_prob(model, obs, th.tensor([[1.98]])), atol=1e-4, rtol=0)


def test_policies_without_a_density() -> None:
    model = untrained("td3", seed=0)
    assert not has_density(model)
    with pytest.raises(ValueError, match=r"`generator` must have a policy with a density .* got TD3"):
        policy_log_prob(model, observations(model, 1), th.zeros(1, 1))


@pytest.mark.parametrize("algorithm", [SAC, PPO])
def test_action_space_of_two_axes(algorithm: Any) -> None:
    """The density is that of the same actions flattened."""

    class Matrix(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(-1, 1, (3,))
        action_space = gym.spaces.Box(-1, 1, (2, 3))

    model = algorithm("MlpPolicy", Matrix(), seed=0, device="cpu")
    obs, actions = observations(model, 4), th.linspace(-0.9, 0.9, 24).reshape(4, 2, 3)
    log_prob = policy_log_prob(model, obs, actions)
    assert log_prob.shape == (4,)
    th.testing.assert_close(log_prob, policy_log_prob(model, obs, actions.flatten(1)))
