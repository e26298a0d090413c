"""ln π of SB3's algorithms and ours, compared with their own densities and integrated."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC

from ardae_rl import SACARDAE
from ardae_rl.irl.log_density import differentiable_log_prob, has_density, policy_log_prob, uniform_log_prob
from tests.conftest import untrained


def observations(model: Any, n: int) -> th.Tensor:
    rng = np.random.default_rng(0)
    return th.as_tensor(rng.normal(size=(n, 3)), dtype=th.float32, device=model.device)


@pytest.mark.parametrize("algo", ["sac", "sac_gaussian", "tqc", "crossq"])
def test_squashed_gaussians(algo: str) -> None:
    """As the actor's own log probability of what it samples, in units of [-1, 1], where the environment has [-2, 2]."""
    model: Any = untrained(algo, seed=0)
    model.policy.set_training_mode(False)
    obs = observations(model, 200)
    with th.no_grad():
        scaled, log_prob = model.policy.actor.action_log_prob(obs)
    inside = scaled.abs().max(-1).values < 0.999
    th.testing.assert_close(policy_log_prob(model, obs, 2 * scaled)[inside], log_prob[inside], atol=2e-3, rtol=0)


@pytest.mark.parametrize("algo", ["sac", "sac_gaussian", "sac_nf", "tqc", "crossq"])
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
    inside = (acted.abs() < 2).flatten()
    th.testing.assert_close(policy_log_prob(model, obs, acted)[inside], log_prob[inside])


def on_policy(low: list[float], high: list[float], algorithm: Any = PPO, **arguments: Any) -> Any:
    """Return an untrained PPO in a box, whose Gaussian is often outside."""

    class InBox(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(-1, 1, (3,))
        action_space = gym.spaces.Box(np.array(low, np.float32), np.array(high, np.float32))

    model = algorithm("MlpPolicy", InBox(), seed=0, device="cpu", **arguments)
    with th.no_grad():
        if not model.use_sde:
            model.policy.log_std.fill_(0.7)
        model.policy.action_net.bias.fill_(0.4)
    return model


@pytest.mark.parametrize("margin", [0.01, 0.3])
def test_clipped_gaussians(margin: float) -> None:
    """The environment receives clipped actions: the strips have the mass beyond them, and the total is one."""
    model, n = on_policy([-2.0], [1.0]), 3000
    grid = -2 + 3 * (th.arange(n) + 0.5) / n
    obs = observations(model, 1)
    density = policy_log_prob(model, obs.expand(n, -1), grid[:, None], margin).exp()
    assert float(density.mean() * 3) == pytest.approx(1, abs=2e-3)
    gaussian = model.policy.get_distribution(obs).distribution
    width = 0.5 * margin * 3
    for bound, mass in ((1.0, 1 - gaussian.cdf(th.tensor(1 - width))), (-2.0, gaussian.cdf(th.tensor(width - 2)))):
        at_bound = policy_log_prob(model, obs, th.tensor([[bound]]), margin)
        th.testing.assert_close(at_bound.exp(), (mass / width).detach().flatten())


def test_gradient_of_a_clipped_gaussian() -> None:
    """Also at the bounds, where cloning has to move the mean outwards."""
    model = on_policy([-2.0], [1.0])
    differentiable_log_prob(model, observations(model, 1), th.tensor([[1.0]]), 0.01).sum().backward()
    assert float(model.policy.action_net.bias.grad) > 0


@pytest.mark.parametrize("margin", [0.01, 0.3])
def test_squashed_on_policy(margin: float) -> None:
    """State-dependent exploration with tanh: per unit of [-1, 1], in which it integrates to one."""
    policy_kwargs = {"squash_output": True}
    model, n = on_policy([-3.0], [1.0], use_sde=True, policy_kwargs=policy_kwargs), 4000
    grid = -3 + 4 * (th.arange(n) + 0.5) / n
    obs = observations(model, 1)
    log_prob = policy_log_prob(model, obs.expand(n, -1), grid[:, None], margin)
    assert float(log_prob.exp().mean() * 2) == pytest.approx(1, abs=2e-3)
    with th.no_grad():
        own = model.policy.evaluate_actions(obs, th.tensor([[0.5]]))[1]  # of 0 in [-3, 1]
    th.testing.assert_close(policy_log_prob(model, obs, th.tensor([[0.0]]), margin), own, atol=1e-4, rtol=0)


def test_uniform_actions() -> None:
    """In the unit of each policy: of [-1, 1] if it is squashed, of the environment if it is clipped."""
    assert uniform_log_prob(untrained("sac")) == pytest.approx(math.log(1 / 2))
    assert uniform_log_prob(untrained("ppo", "Pendulum-v1")) == pytest.approx(math.log(1 / 4))
    assert uniform_log_prob(untrained("ppo", "CartPole-v1")) == pytest.approx(math.log(1 / 2))
    assert uniform_log_prob(on_policy([-3.0, 0.0], [1.0, 2.0])) == pytest.approx(math.log(1 / 8))


@pytest.mark.parametrize("algo", ["sac", "sac_gaussian"])
@pytest.mark.parametrize("bound", [-2.0, 2.0])
def test_margin(bound: float, algo: str) -> None:
    """In the strip at a bound, the density is the mean density of the strip, here by the midpoint rule."""
    model = untrained(algo, seed=0)
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
