"""The critics of SACARDAE besides SB3's: targets by hand, and what a delayed step leaves as it is."""

import itertools

import pytest
import torch as th
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from ardae_rl.common.critics import BatchRenorm
from ardae_rl.sac_ardae import sac_ardae
from tests.common.models import changed, parameters
from tests.sac_ardae.small import make

GAMMA, ALPHA = 0.9, 0.5
CROSSQ = {"critic": "crossq"}


def batch(n: int = 6) -> ReplayBufferSamples:
    generator = th.Generator().manual_seed(0)
    obs, next_obs = (th.randn(n, 3, generator=generator) for _ in range(2))
    actions, rewards = (2 * th.rand(n, 1, generator=generator) - 1 for _ in range(2))
    dones = (th.arange(n) % 3 == 0).float().unsqueeze(1)
    return ReplayBufferSamples(obs, actions, next_obs, dones, rewards)


def test_joint_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and targets come from one batch of (s, a) and (s', a'), in which the layers take their statistics."""
    model = make(gamma=GAMMA, ent_coef=ALPHA, policy_kwargs=CROSSQ)
    data = batch()
    pre_tanh = th.linspace(-2, 2, 6).reshape(6, 1)
    monkeypatch.setattr(model.actor, "sample", lambda embedding, n_samples, frame: pre_tanh.unsqueeze(1))
    monkeypatch.setattr(
        sac_ardae, "pre_tanh_log_prob", lambda estimator, states, pre_tanh, offset: th.full((6, 1), 0.3)
    )
    targets, q_values, _ = model.target_q_values(data)

    inputs = th.cat(
        [th.cat([data.observations, data.actions], 1), th.cat([data.next_observations, th.tanh(pre_tanh)], 1)]
    )
    expected = []
    for network in model.critic.q_networks:
        x = inputs
        for layer in network.children():
            if isinstance(layer, BatchRenorm):
                x = (x - x.mean(0)) / (x.var(0) + 1e-3).sqrt() * layer.scale + layer.bias
            else:
                x = layer(x)
        expected.append(x)
    next_values = th.minimum(expected[0][6:], expected[1][6:])
    th.testing.assert_close(targets, data.rewards + (1 - data.dones) * GAMMA * (next_values - ALPHA * 0.3))
    for value, x in zip(q_values, expected, strict=True):
        th.testing.assert_close(value, x[:6])
        assert value.requires_grad
    assert not targets.requires_grad


def test_delayed_policy() -> None:
    """Two steps of three update the critics alone; the estimator's score is learned beside the policy."""
    model = make(policy_kwargs=CROSSQ, ent_coef="auto").learn(12)
    assert model._n_updates == 2
    states = [parameters(model)]
    for _ in range(4):
        model.train(1, 16)
        states.append(parameters(model))
    steps = [changed(*pair) for pair in itertools.pairwise(states)]
    assert steps == [{"actor", "critic", "estimator", "ent_coef"}, {"critic"}, {"critic"}, *steps[:1]]
    assert model.critic.optimizer.defaults["fused"] and model.critic.optimizer.defaults["betas"] == (0.5, 0.999)


def test_generator_slows_down_with_updates_of_the_actor() -> None:
    """With a policy that is updated at every third gradient step, the fall takes three times as many of them."""
    scales = []
    for policy_kwargs in (CROSSQ, {}):
        model = make(policy_kwargs=policy_kwargs)
        model._n_updates = 30_000
        model.set_logger(Logger(folder=None, output_formats=[]))
        model._set_learning_rates()
        scales.append([group["lr_scale"] for group in model.actor.optimizer.param_groups if "lr_scale" in group])
    assert scales == [[1 + 2 / (1 + 1)], [1 + 2 / (1 + 3)]]


def test_actor_loss_leaves_the_statistics() -> None:
    for critic in ("simba", "crossq"):
        model = make(policy_kwargs={"critic": critic}).learn(15)
        model.policy.set_training_mode(True)
        before = parameters(model)
        model.update_actor(model.policy.encode_states(batch().observations), th.zeros(()))
        assert changed(before, parameters(model)) == {"actor"}


def test_statistics_of_the_targets() -> None:
    """The observation statistics of the targets are those of the critics."""
    model = make(policy_kwargs={"critic": "simba"}).learn(15)
    critic, target = model.critic.state_dict(), model.critic_target.state_dict()
    names = [name for name in critic if "running_" in name]
    assert len(names) == 6 and all(th.equal(critic[name], target[name]) for name in names)
    assert critic[names[0]].abs().sum() > 0
