"""SACNF as an SB3 algorithm: training, saving, densities, what it is given."""

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv, SimpleMultiObsEnv
from stable_baselines3.common.vec_env import VecNormalize

from ardae_rl import SACNF
from ardae_rl.sac_nf import CnnPolicy, MlpPolicy, MultiInputPolicy, SACNFPolicy
from ardae_rl.sac_nf.flows import FLOWS

ARGUMENTS: dict[str, Any] = {"batch_size": 16, "buffer_size": 500, "learning_starts": 10, "device": "cpu", "seed": 0}
OBSERVATIONS = spaces.Box(-1, 1, (3,))
ACTIONS = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))
all_flows = pytest.mark.parametrize("flow", FLOWS)


def make(env: Any = "Pendulum-v1", policy: str = "MlpPolicy", **arguments: Any) -> SACNF:
    policy_kwargs = {"net_arch": [16], "n_flows": 2} | arguments.pop("policy_kwargs", {})
    return SACNF(policy, env, policy_kwargs=policy_kwargs, **(ARGUMENTS | arguments))


def random_policy(flow: str, action_space: spaces.Box = ACTIONS) -> MlpPolicy:
    """Away from the identity and from one Gaussian."""
    th.manual_seed(0)
    policy = MlpPolicy(OBSERVATIONS, action_space, lambda _: 1e-3, net_arch=[16], flow=flow)
    spread = 0.4 if flow in ("radial", "planar") else 0.05
    with th.no_grad():
        for parameter in policy.actor.flow.parameters():
            parameter.add_(spread * th.randn_like(parameter))
    return policy


@all_flows
@pytest.mark.parametrize("ent_coef", ["auto", 0.1])
def test_train_save_load_continue(flow: str, ent_coef: Any, tmp_path: Path) -> None:
    """Everything is restored, optimisers included: training goes on as if it had not been interrupted."""
    model = make(policy_kwargs={"flow": flow}, ent_coef=ent_coef)
    before = {name: tensor.clone() for name, tensor in model.actor.state_dict().items()}
    model.learn(20)
    assert model._n_updates == 10
    after = model.actor.state_dict()
    assert any(not th.equal(before[name], after[name]) for name in after if name.startswith("flow."))
    model.save(tmp_path / "model.zip")
    loaded = SACNF.load(tmp_path / "model.zip", env=gym.make("Pendulum-v1"), device="cpu")
    loaded.replay_buffer = model.replay_buffer
    loaded.set_logger(model.logger)
    for continued in (model, loaded):
        th.manual_seed(1)
        np.random.seed(1)
        continued.train(gradient_steps=3, batch_size=8)
    for name, tensor in model.policy.state_dict().items():
        assert th.equal(tensor, loaded.policy.state_dict()[name]), name
        assert tensor.is_floating_point()
    for deterministic in (True, False):
        actions = []
        for each in (model, loaded):
            th.manual_seed(0)
            actions.append(each.predict(np.ones(3, np.float32), deterministic=deterministic)[0])
        assert np.array_equal(actions[0], actions[1])


def test_deterministic_actions_are_functions_of_the_observation() -> None:
    model = make()
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    first = model.predict(observations, deterministic=True)[0]
    assert np.array_equal(first, model.predict(observations, deterministic=True)[0])
    assert not np.array_equal(model.predict(observations)[0], model.predict(observations)[0])


ENVIRONMENTS: dict[str, tuple[Any, str]] = {
    "image": (lambda: FakeImageEnv(screen_height=40, screen_width=40, n_channels=1, discrete=False), "CnnPolicy"),
    "dictionary": (lambda: SimpleMultiObsEnv(discrete_actions=False), "MultiInputPolicy"),
    "two": (lambda: make_vec_env("Pendulum-v1", 2), "MlpPolicy"),
    "normalised": (lambda: VecNormalize(make_vec_env("Pendulum-v1", 1)), "MlpPolicy"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name: str, tmp_path: Path) -> None:
    make_env, policy = ENVIRONMENTS[name]
    model = make(make_env(), policy).learn(14)
    model.policy.save(str(tmp_path / "policy"))
    classes: dict[str, type[SACNFPolicy]] = {
        "CnnPolicy": CnnPolicy,
        "MlpPolicy": MlpPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    loaded = classes[policy].load(str(tmp_path / "policy"), device="cpu")
    observation = model.observation_space.sample()
    one, other = (each.predict(observation, deterministic=True)[0] for each in (model.policy, loaded))
    assert np.array_equal(one, other)


def test_hindsight_experience_replay() -> None:
    env = BitFlippingEnv(n_bits=4, continuous=True, max_steps=4)
    make(env, "MultiInputPolicy", replay_buffer_class=HerReplayBuffer, learning_starts=12).learn(20)


@all_flows
@pytest.mark.parametrize("state_dependent_std", [True, False])
def test_densities_agree(flow: str, state_dependent_std: bool) -> None:
    """Of an action as it is sampled and as it is asked for, per unit of the environment's range."""
    th.manual_seed(0)
    policy = random_policy(flow)
    obs = th.randn(30, 3)
    with th.no_grad():
        scaled, log_prob = policy.actor.action_log_prob(obs)
    actions = th.tensor([0.0, 0.25]) + th.tensor([2.0, 0.25]) * scaled
    inside = scaled.abs().max(1).values < 0.999  # nearer to the bounds, single precision forgets where it was
    asked = policy.log_prob(obs, actions)
    assert inside.sum() > 20
    th.testing.assert_close(asked[inside], log_prob[inside] - math.log(2 * 0.25), rtol=1e-3, atol=0.02)


@all_flows
def test_density_integrates_to_one_over_the_actions(flow: str) -> None:
    policy = random_policy(flow, spaces.Box(-2, 2, (1,)))
    obs = th.randn(4, 3)
    grid = 2 * th.tanh(th.linspace(-7, 7, 2001))
    for observation in obs:
        density = policy.log_prob(observation.expand(len(grid), -1), grid.unsqueeze(1)).exp()
        assert th.trapezoid(density, grid).item() == pytest.approx(1, abs=0.01)


def test_entropy_is_minus_the_mean_log_prob() -> None:
    policy = random_policy("radial")
    obs = th.randn(2, 3)
    entropy = policy.entropy(obs, n_samples=3000)
    repeated = obs.repeat_interleave(3000, 0)
    with th.no_grad():
        _, log_prob = policy.actor.action_log_prob(repeated)
    expected = math.log(2 * 0.25) - log_prob.view(2, 3000).mean(1)
    th.testing.assert_close(entropy, expected, rtol=0, atol=0.08)  # standard errors of about 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"flow": "spline"}, "flow='spline': accepted are 'radial', 'planar', 'autoregressive', 'coupling'"),
        ({"n_flows": 0}, "n_flows=0: accepted are numbers above 0"),
        ({"use_sde": True}, "use_sde=True: accepted is False"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MlpPolicy(OBSERVATIONS, ACTIONS, lambda _: 1e-3, **arguments)


def test_parameters_that_are_not_finite() -> None:
    model = make().learn(12)
    with th.no_grad():
        model.actor.mu.bias.fill_(math.nan)
    with pytest.raises(ValueError, match="critic_loss is nan after 3 gradient steps: training has diverged"):
        model.train(1, 8)
