"""DVBF's loss against an example worked out by hand: bound, annealing and reward."""

from typing import Any

import pytest
import torch as th

from ardae_rl.dvbf import dvbf
from ardae_rl.dvbf.elbo import ELBOTerms
from ardae_rl.latent.sequences import Sequences
from tests.dvbf.test_dvbf import agent

RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR = (-4.0, -2.0), (-3.0, -1.0), (1.0, 0.5)
N_OBSERVATIONS = 5
TERMS = ELBOTerms(*(th.tensor(values) for values in (RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR)))
ANNEALED = {
    "dvbf": lambda c: [c * (x + p) - q for x, p, q in zip(RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR, strict=True)],
    "kl": lambda c: [x - c * (q - p) for x, p, q in zip(RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR, strict=True)],
    "none": lambda c: [x + p - q for x, p, q in zip(RECONSTRUCTION, LOG_PRIOR, LOG_POSTERIOR, strict=True)],
}


def loss_of(monkeypatch: pytest.MonkeyPatch, n_updates: int, **arguments: Any) -> tuple[th.Tensor, dict[str, Any]]:
    model = agent(anneal_steps=100, **arguments)
    model._n_updates = n_updates
    monkeypatch.setattr(dvbf, "elbo", lambda *_: (TERMS, th.zeros(2, N_OBSERVATIONS, 3)))
    monkeypatch.setattr(model.policy, "expected_reward", lambda z, actions: 2 * actions.squeeze(-1))
    actions, rewards = th.ones(2, N_OBSERVATIONS - 1, 1), th.tensor([[1.0, 2.0, 3.0, 2.0]] * 2)
    return model._loss(Sequences(th.zeros(2, N_OBSERVATIONS, 3), actions, rewards))


@pytest.mark.parametrize("anneal", ANNEALED)
@pytest.mark.parametrize(("n_updates", "temperature"), [(0, 0.01), (50, 0.51), (99, 1.0), (1000, 1.0)])
def test_annealed_bound(anneal: str, n_updates: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minus the bound per observation; the temperature rises from 0.01 to 1."""
    loss, parts = loss_of(monkeypatch, n_updates, anneal=anneal, reward_weight=0.0)
    assert loss.item() == pytest.approx(-sum(ANNEALED[anneal](temperature)) / 2 / N_OBSERVATIONS, rel=1e-5)
    assert parts["elbo"].item() == pytest.approx((-8.0 - 3.5) / 2)
    assert parts["kl"].item() == pytest.approx((4.0 + 1.5) / 2)


def test_error_of_the_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictions are 2, 2, 2, 2 for rewards 1, 2, 3, 2."""
    without, _ = loss_of(monkeypatch, 1000, reward_weight=0.0)
    loss, parts = loss_of(monkeypatch, 1000, reward_weight=3.0)
    assert parts["reward_error"].item() == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert (loss - without).item() == pytest.approx(3 * 0.5)


def test_rewards_do_not_train_the_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their error would pull the latents away from the model that is learned."""
    model = agent(reward_weight=1.0)
    z = th.zeros(2, N_OBSERVATIONS, 3, requires_grad=True)
    scale = th.ones((), requires_grad=True)
    monkeypatch.setattr(dvbf, "elbo", lambda *_: (TERMS, z))
    monkeypatch.setattr(model.policy, "expected_reward", lambda z, actions: z.sum(-1) + scale)
    actions, rewards = th.ones(2, N_OBSERVATIONS - 1, 1), th.zeros(2, N_OBSERVATIONS - 1)
    model._loss(Sequences(th.zeros(2, N_OBSERVATIONS, 3), actions, rewards))[0].backward()
    assert z.grad is None and scale.grad is not None and scale.grad.item() == pytest.approx(2.0)
