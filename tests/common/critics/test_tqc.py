"""TQC with SimBa's networks in its critics."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import TQC

from ardae_rl.common.critics import ResidualBlock
from ardae_rl.common.critics.tqc import TQCPolicy

ARGUMENTS: dict[str, Any] = {"batch_size": 16, "buffer_size": 200, "learning_starts": 10, "device": "cpu", "seed": 0}


def make(critic: str) -> TQC:
    return TQC(TQCPolicy, "Pendulum-v1", policy_kwargs={"net_arch": [8], "critic": critic}, **ARGUMENTS)


def test_train_save_load(tmp_path: Path) -> None:
    """Critics and targets start equal, parameters and statistics are trained, and loading restores them."""
    model = make("simba")
    for critic in (model.critic, model.critic_target):
        assert all(isinstance(network[2], ResidualBlock) for network in critic.q_networks)
        assert [network[-1].out_features for network in critic.q_networks] == [25, 25]
    assert all(
        th.equal(target, newest)
        for target, newest in zip(model.critic_target.parameters(), model.critic.parameters(), strict=True)
    )
    before = {name: value.clone() for name, value in model.critic.state_dict().items()}
    model.learn(30)
    after = model.critic.state_dict()
    assert [name for name, value in before.items() if th.equal(value, after[name])] == []
    target = model.critic_target.state_dict()
    assert all(th.equal(target[name], value) for name, value in after.items() if "running" in name)

    model.save(tmp_path / "model")
    loaded = TQC.load(tmp_path / "model", env=gym.make("Pendulum-v1"), device="cpu")
    observation = np.ones((3, 3), np.float32)
    np.testing.assert_array_equal(*(m.predict(observation, deterministic=True)[0] for m in (model, loaded)))
    arguments = th.ones(3, 3), th.ones(3, 1)
    th.testing.assert_close(model.critic.eval()(*arguments), loaded.critic.eval()(*arguments), rtol=0, atol=0)
    model.policy.save(tmp_path / "policy")
    assert TQCPolicy.load(tmp_path / "policy", device="cpu").critic_name == "simba"


def test_plain_critics_are_unchanged() -> None:
    ours = make("mlp").learn(30)
    reference = TQC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, **ARGUMENTS).learn(30)
    state = ours.policy.state_dict()
    assert all(th.equal(state[name], value) for name, value in reference.policy.state_dict().items())


def test_crossq_is_refused() -> None:
    with pytest.raises(ValueError, match="`critic` must be one of 'mlp', 'simba', got 'crossq'"):
        make("crossq")
