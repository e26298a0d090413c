"""CrossQ's gradient steps against sb3-contrib's, with the same weights, batches and noise."""

from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import CrossQ
from sb3_contrib.crossq.policies import Actor, CrossQPolicy
from stable_baselines3.common.logger import Logger

from ardae_rl import SACGaussian
from ardae_rl.common.critics import CrossQCritics

N_STEPS = 9
COMMON: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_starts": 10_000,
    "device": "cpu",
    "buffer_size": 500,
    "seed": 0,
}
NET_ARCH = {"pi": [16, 16], "qf": [32, 32]}


class PlainActorPolicy(CrossQPolicy):
    """CrossQ's policy without batch renormalization in the actor, as ours."""

    def make_actor(self, features_extractor: Any = None) -> Actor:
        self.actor_kwargs["batch_norm"] = False
        return super().make_actor(features_extractor)


def fill(model: Any) -> None:
    rng = np.random.default_rng(0)
    for k in range(200):
        obs, next_obs = rng.standard_normal((2, 1, 3)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, 1)).astype(np.float32)
        model.replay_buffer.add(obs, next_obs, action, rng.standard_normal(1), np.array([k % 7 == 0]), [{}])
    model.set_logger(Logger(folder=None, output_formats=[]))


def copy_weights(source: Any, target: Any) -> None:
    """Copy the weights, which have other names in the batch renormalization."""
    names = {"ra_mean": "running_mean", "ra_var": "running_var", "steps": "running_steps"}
    state = {}
    for name, value in source.policy.state_dict().items():
        *path, last = name.split(".")
        state[".".join([*path, names.get(last, last)])] = value.float()
    target.policy.load_state_dict(state)


@pytest.fixture
def constant_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same noise in each draw, because the two draw it in another order."""

    def noise(shape: Any, dtype: Any, device: Any) -> th.Tensor:
        return th.randn(shape, generator=th.Generator().manual_seed(0), dtype=dtype)

    monkeypatch.setattr(th.distributions.normal, "_standard_normal", noise)


def test_least_arguments() -> None:
    critics = CrossQCritics(policy_delay=1, momentum=0.0, warmup_steps=0)
    assert critics.updates_actor(1) and critics.warmup_steps == 0


@pytest.mark.usefixtures("constant_noise")
@pytest.mark.parametrize("warmup_steps", [100_000, 4])
@pytest.mark.parametrize("ent_coef", ["auto", 0.1])
def test_gradient_steps(ent_coef: float | str, warmup_steps: int) -> None:
    """From the same weights, losses and temperature agree to 1e-5, and the weights and statistics after the step."""
    reference = CrossQ(
        PlainActorPolicy,
        "Pendulum-v1",
        ent_coef=ent_coef,
        policy_kwargs={"net_arch": NET_ARCH, "renorm_warmup_steps": warmup_steps},
        **COMMON,
    )
    policy_kwargs = {"net_arch": NET_ARCH, "critic": "crossq", "critic_kwargs": {"warmup_steps": warmup_steps}}
    ours = SACGaussian("MlpPolicy", "Pendulum-v1", ent_coef=ent_coef, policy_kwargs=policy_kwargs, **COMMON)
    for model in (reference, ours):
        fill(model)
    for step in range(1, N_STEPS + 1):
        copy_weights(reference, ours)
        logged = []
        for model in (reference, ours):
            model.logger.name_to_value.clear()
            np.random.seed(step)
            model.train(gradient_steps=1, batch_size=32)
            logged.append(dict(model.logger.name_to_value))
        expected, values = logged
        assert values.keys() == expected.keys()
        assert ("train/actor_loss" in values) == (step % 3 == 0)
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, rel=1e-5, abs=1e-5), (step, name)
        state = {name: value.clone() for name, value in ours.policy.state_dict().items()}
        copy_weights(reference, ours)
        for name, value in ours.policy.state_dict().items():
            # Adam makes steps of rounding errors where the gradient is almost zero
            th.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-4)


def test_actor_values_use_running_statistics() -> None:
    """The actor's loss normalizes each action alone, and leaves the statistics."""
    model = SACGaussian("MlpPolicy", "Pendulum-v1", policy_kwargs={"critic": "crossq", "net_arch": [8]}, **COMMON)
    fill(model)
    model.train(3, 32)
    model.policy.set_training_mode(True)
    before = {name: value.clone() for name, value in model.critic.state_dict().items()}
    obs, actions = th.randn(6, 3), th.rand(6, 1)
    whole = model.policy.critics.actor_values(model.critic, obs, actions)
    single = [model.policy.critics.actor_values(model.critic, obs[k : k + 1], actions[k : k + 1]) for k in range(6)]
    th.testing.assert_close(th.cat(single), whole)
    assert all(th.equal(before[name], value) for name, value in model.critic.state_dict().items())
