"""The critics' targets against an example worked by hand, and the update of the target critics."""

import math
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from ardae_rl.common.squashed import log_tanh_slope
from ardae_rl.sac_ardae import sac_ardae
from tests.sac_ardae.small import make

GAMMA, ALPHA = 0.9, 0.5
REWARDS, DONES = th.tensor([[1.0], [2.0], [-1.0], [0.5]]), th.tensor([[0.0], [1.0], [0.0], [0.0]])
NEXT_OBSERVATIONS = th.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [1.0, 1.0, 1.0]])
PRE_TANH = th.tensor([[-2.0], [0.3], [0.0], [1.5]])  # not all within [-1, 1]: the critics must get tanh of them
LOG_PROB = th.tensor([[-1.0], [0.2], [0.7], [0.0]])


def linear_critics(observations: th.Tensor, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Q₁ is the smaller one in the first state, Q₂ in the others."""
    value = observations.sum(1, keepdim=True)
    return value + actions, 3 - value - actions


def test_target_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """r + γ (1 - done) (min Q(s', tanh x) - α ln π)."""
    model = make(gamma=GAMMA, ent_coef=ALPHA)
    monkeypatch.setattr(model.actor, "sample", lambda embedding, n_samples, frame: PRE_TANH.unsqueeze(1))
    monkeypatch.setattr(model, "critic_target", linear_critics)
    monkeypatch.setattr(sac_ardae, "pre_tanh_log_prob", lambda estimator, states, pre_tanh, offset: LOG_PROB)
    batch = ReplayBufferSamples(th.zeros(4, 3), th.zeros(4, 1), NEXT_OBSERVATIONS, DONES, REWARDS)
    targets, _, metrics = model.target_q_values(batch)
    # tanh(-2) = -0.964028, tanh(1.5) = 0.905148
    expected = [
        1 + 0.9 * (min(1 - 0.964028, 3 - 1 + 0.964028) - 0.5 * -1.0),
        2,  # a terminal step
        -1 + 0.9 * (min(2 + 0, 3 - 2 - 0) - 0.5 * 0.7),
        0.5 + 0.9 * (min(3 + 0.905148, 3 - 3 - 0.905148) - 0.5 * 0.0),
    ]
    th.testing.assert_close(targets, th.tensor(expected).unsqueeze(1), rtol=0, atol=1e-5)
    th.testing.assert_close(metrics["entropy"], -LOG_PROB.mean())


def test_saturated_actions_are_not_worth_more_than_those_near_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A density of 1 before tanh is one of 1 / 2e-6 a millionth from the bounds, and counts as this beyond."""
    model = make(gamma=GAMMA, ent_coef=ALPHA)
    pre_tanh = th.tensor([[1000.0], [-50.0], [9.0], [0.0]])
    monkeypatch.setattr(model.actor, "sample", lambda embedding, n_samples, frame: pre_tanh.unsqueeze(1))
    monkeypatch.setattr(model, "critic_target", lambda observations, actions: (th.zeros(4, 1),) * 2)
    monkeypatch.setattr(sac_ardae, "pre_tanh_log_prob", lambda estimator, states, x, offset: -log_tanh_slope(x))
    batch = ReplayBufferSamples(th.zeros(4, 3), th.zeros(4, 1), NEXT_OBSERVATIONS, th.zeros(4, 1), th.zeros(4, 1))
    targets, _, metrics = model.target_q_values(batch)
    bonus = math.log(2e-6)
    expected = th.tensor([[bonus], [bonus], [bonus], [0.0]])
    th.testing.assert_close(targets, GAMMA * ALPHA * expected, rtol=1e-4, atol=1e-5)
    th.testing.assert_close(metrics["entropy"], expected.mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"policy_kwargs": {"share_features_extractor": True}}], ids=str)
def test_target_critics_move_by_tau(arguments: dict[str, Any]) -> None:
    """They move towards the critics after the gradient step."""
    model = make(tau=0.25, **arguments).learn(15)
    before = [parameter.clone() for parameter in model.critic_target.parameters()]
    model.train(gradient_steps=1, batch_size=8)
    after = zip(before, model.critic.parameters(), model.critic_target.parameters(), strict=True)
    for old, critic, target in after:
        assert not th.equal(target, old)
        th.testing.assert_close(target, 0.75 * old + 0.25 * critic, rtol=1e-6, atol=1e-7)
