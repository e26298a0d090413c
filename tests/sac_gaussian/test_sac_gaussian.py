"""SACGaussian is SB3's SAC where the critics are SB3's; its densities; its policy's arguments."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC

from ardae_rl import SACGaussian
from ardae_rl.common.critics import BatchRenorm, CrossQCritics, ResidualBlock
from ardae_rl.sac_gaussian import MlpPolicy

ARGUMENTS: dict[str, Any] = {"learning_starts": 20, "batch_size": 16, "buffer_size": 500, "seed": 0, "device": "cpu"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"use_sde": True},
        {"ent_coef": 0.1, "n_steps": 3},
        {"train_freq": 4, "gradient_steps": 4, "target_update_interval": 3},
    ],
    ids=str,
)
def test_plain_critics_are_those_of_sb3(arguments: dict[str, Any]) -> None:
    """Weights, temperature and logged values are equal after training."""
    ours, reference = (
        cls("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [16, 16]}, **(ARGUMENTS | arguments)).learn(60)
        for cls in (SACGaussian, SAC)
    )
    state, expected = ours.policy.state_dict(), reference.policy.state_dict()
    assert state.keys() == expected.keys()
    assert [name for name in state if not th.equal(state[name], expected[name])] == []
    assert ours.logger.name_to_value.keys() == reference.logger.name_to_value.keys()
    for name, value in reference.logger.name_to_value.items():
        assert ours.logger.name_to_value[name] == pytest.approx(value, rel=1e-5)


def test_state_dependent_exploration_is_restored(tmp_path: Path) -> None:
    model = SACGaussian("MlpPolicy", "Pendulum-v1", use_sde=True, **ARGUMENTS).learn(30)
    model.save(tmp_path / "model")
    loaded = SACGaussian.load(tmp_path / "model", env=model.get_env())
    assert loaded.use_sde and loaded.policy.actor.use_sde
    observation = np.ones((1, 3), np.float32)
    actions = [m.predict(observation, deterministic=True)[0] for m in (model, loaded)]
    assert np.array_equal(actions[0], actions[1])
    loaded.learn(10)


def policy(**arguments: Any) -> MlpPolicy:
    th.manual_seed(0)
    action_space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))
    return MlpPolicy(spaces.Box(-1, 1, (3,)), action_space, lambda _: 1e-3, **arguments)


def test_density() -> None:
    """It is that of the actor's own samples, per unit of the environment's range; the entropy is minus its mean."""
    gaussian = policy(net_arch=[16])
    obs = th.randn(200, 3)
    with th.no_grad():
        scaled, log_prob = gaussian.actor.action_log_prob(obs)
    actions = th.tensor([0.0, 0.25]) + th.tensor([2.0, 0.25]) * scaled
    inside = scaled.abs().max(1).values < 0.99
    expected = log_prob[inside] - math.log(2 * 0.25)
    th.testing.assert_close(gaussian.log_prob(obs, actions)[inside], expected, rtol=1e-3, atol=5e-3)
    repeated = obs[:1].expand(4000, -1)
    with th.no_grad():
        _, log_prob = gaussian.actor.action_log_prob(repeated)
    entropy = gaussian.entropy(obs[:1], n_samples=4000)
    assert entropy.item() == pytest.approx(math.log(2 * 0.25) - log_prob.mean().item(), abs=0.08)


def test_widths() -> None:
    """Each kind has its own default widths; ``net_arch`` sets them otherwise."""
    simba = policy(critic="simba").critic.q_networks[0]
    assert sum(isinstance(layer, ResidualBlock) for layer in simba.children()) == 2
    crossq = policy(critic="crossq", net_arch={"pi": [8], "qf": [24, 16]})
    linear = [layer for layer in crossq.critic.q_networks[1].children() if isinstance(layer, th.nn.Linear)]
    assert [layer.out_features for layer in linear] == [24, 16, 1]
    assert crossq.actor.mu.in_features == 8
    assert not any("critic_target" in name for name in crossq.state_dict())


def test_actor_is_updated_at_every_third_step() -> None:
    kwargs = {"critic": "crossq", "net_arch": [8], "critic_kwargs": {"policy_delay": 3}}
    model: Any = SACGaussian("MlpPolicy", "Pendulum-v1", policy_kwargs=kwargs, **ARGUMENTS).learn(25)
    steps, changed, weights = [], [], []
    for _ in range(6):
        model.train(1, 16)
        weights.append(model.actor.mu.weight.detach().clone())
        steps.append(model._n_updates)
    for step, before, after in zip(steps[1:], weights, weights[1:], strict=False):
        if not th.equal(before, after):
            changed.append(step)
    assert changed == [step for step in steps[1:] if step % 3 == 0]


def test_settings_of_crossq() -> None:
    model = policy(critic="crossq", critic_kwargs={"momentum": 0.2, "eps": 0.1, "warmup_steps": 7, "policy_delay": 2})
    assert model.critics == CrossQCritics(policy_delay=2, momentum=0.2, eps=0.1, warmup_steps=7)
    layers = [layer for layer in model.critic.modules() if isinstance(layer, BatchRenorm)]
    assert {(layer.momentum, layer.eps, layer.warmup_steps) for layer in layers} == {(0.2, 0.1, 7)}
    assert len(layers) == 6
    assert model.actor.optimizer.defaults["betas"] == model.critic.optimizer.defaults["betas"] == (0.5, 0.999)
    assert policy(critic="crossq", optimizer_kwargs={}).actor.optimizer.defaults["betas"] == (0.9, 0.999)
    assert policy().critic.optimizer.defaults["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"critic": "simbad"}, "`critic` must be one of 'mlp', 'simba', 'crossq', got 'simbad'"),
        (
            {"critic": "simba", "critic_kwargs": {"momentum": 1}},
            "`critic_kwargs` must be empty for critic='simba', got {'momentum': 1}",
        ),
        (
            {"critic": "crossq", "critic_kwargs": {"delay": 1}},
            "`critic_kwargs` must only have the keys 'policy_delay', 'momentum', 'eps', 'warmup_steps', got 'delay'",
        ),
        ({"critic": "crossq", "critic_kwargs": {"policy_delay": 0}}, "`policy_delay` must be >= 1, got 0"),
        ({"critic": "crossq", "critic_kwargs": {"warmup_steps": -1}}, "`warmup_steps` must be >= 0, got -1"),
        ({"critic": "crossq", "critic_kwargs": {"momentum": 2}}, "`momentum` must be between 0 and 1, got 2"),
        ({"critic": "crossq", "critic_kwargs": {"eps": 0}}, "`eps` must be positive, got 0"),
        ({"critic": "simba", "net_arch": [8, 16]}, "`net_arch` must have one width, .* got \\[8, 16\\]"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(**arguments)
