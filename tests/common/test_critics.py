"""Residual critics in the policies of all algorithms that support them."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th

from ardae_rl.common.critics import RESIDUAL_CRITICS, ResidualBlock, policy_with_critic
from ardae_rl.registry import algorithm_class

ARGUMENTS: dict[str, Any] = {"batch_size": 16, "buffer_size": 200, "learning_starts": 10, "device": "cpu", "seed": 0}


def make(name: str, critic: str) -> Any:
    cls: Any = algorithm_class(name)
    policy = policy_with_critic(cls.policy_aliases["MlpPolicy"], critic, width=8)
    return cls(policy, "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **ARGUMENTS)


def test_block() -> None:
    """x + W₂ relu(W₁ norm(x) + b₁) + b₂, the identity where the last layer is zero."""
    block = ResidualBlock(4)
    x = th.randn(5, 4)
    _, first, _, second = block.layers
    normalized = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = x + (normalized @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias  # type: ignore[operator]
    th.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("name", RESIDUAL_CRITICS)
def test_train_save_load(name: str, tmp_path: Path) -> None:
    """Critics and targets start equal, all parameters are trained, and loading restores them."""
    model = make(name, "simba")
    plain = make(name, "plain")
    for critic in (model.critic, model.critic_target):
        assert all(isinstance(network[1], ResidualBlock) for network in critic.q_networks)
        assert [network[-1].out_features for network in critic.q_networks] == [
            network[-1].out_features for network in plain.critic.q_networks
        ]
    for target, newest in zip(model.critic_target.parameters(), model.critic.parameters(), strict=True):
        assert th.equal(target, newest)
    before = [parameter.clone() for parameter in model.critic.parameters()]
    model.learn(30)
    assert all(not th.equal(old, new) for old, new in zip(before, model.critic.parameters(), strict=True))

    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=gym.make("Pendulum-v1"), device="cpu")
    observation = np.ones((3, 3), np.float32)
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, loaded)))
    arguments = th.ones(3, 3), th.ones(3, 1)
    for expected, value in zip(model.critic(*arguments), loaded.critic(*arguments), strict=True):
        th.testing.assert_close(value, expected, rtol=0, atol=0)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`critic` must be one of 'plain', 'simba', got 'simbad'"):
        make("sac", "simbad")
    with pytest.raises(
        ValueError, match="`policy_class` must have critics without batch normalization, got CrossQPolicy"
    ):
        make("crossq", "simba")
