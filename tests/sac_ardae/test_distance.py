"""The log-distance in the place of the entropy: its value and target, and its places in a gradient step."""

import math
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from ardae_rl.sac_ardae.distance import LogDistance
from tests.common.models import changed, parameters
from tests.sac_ardae.small import make

GAMMA, ALPHA = 0.9, 0.5
DISTANCE: dict[str, Any] = {"entropy": "distance"}


def test_value_by_hand() -> None:
    """The mean over three pairs, of which two differ by 0.5 in both dimensions, and one by 1."""
    actions = th.tensor([[0.0, 0.5, -0.5], [0.2, 0.2, 0.2]]).unsqueeze(2).expand(-1, -1, 2)
    near, far = (math.log(step * math.sqrt(2) + 1e-5) for step in (0.5, 1))
    expected = [[(2 * near + far) / 3], [math.log(1e-5)]]
    th.testing.assert_close(LogDistance()(actions), th.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 6, 17])
@pytest.mark.parametrize("n_modes", [1, 2])
def test_pairs_share_actions(dim: int, n_modes: int) -> None:
    """All pairs of 5 actions estimate the mean about as well as 8 pairs of 16 actions."""
    th.manual_seed(0)

    def actions(n: int) -> th.Tensor:
        return th.tanh(0.5 * th.randn(10_000, n, dim) + 2 * th.randint(n_modes, (10_000, n, 1)))

    few, others = LogDistance()(actions(5)), actions(16).unflatten(1, (8, 2)).flatten(0, 1)
    pairs = LogDistance()(others).view(-1, 8).mean(1)
    th.testing.assert_close(few.mean(), pairs.mean(), rtol=0, atol=0.05)
    assert 0.9 < few.std() / pairs.std() < 1.4


def test_targets() -> None:
    assert LogDistance().target(6) == pytest.approx(math.log(0.2 * math.sqrt(6)))
    model = make(policy_kwargs=DISTANCE | {"entropy_kwargs": {"beta": 0.8}})
    assert model.target_entropy == pytest.approx(math.log(0.8))
    assert make(policy_kwargs=DISTANCE, target_entropy=-3).target_entropy == -3


def test_two_actions_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(ent_coef=ALPHA, policy_kwargs=DISTANCE | {"entropy_kwargs": {"n_actions": 2}})
    seen = []

    def recorded(self: LogDistance, actions: th.Tensor) -> th.Tensor:
        seen.append(actions.shape)
        return actions.sum((1, 2)).unsqueeze(1)

    monkeypatch.setattr(LogDistance, "__call__", recorded)
    model.learn(15)
    assert set(seen) == {(32, 2, 1)}


def test_critics_and_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets get α times the log-distance in s', the actor's loss is -min Q - α times the one in s."""
    model = make(gamma=GAMMA, ent_coef=ALPHA, policy_kwargs=DISTANCE)
    value = th.nn.Parameter(th.tensor([[0.5], [-2.0]]))
    monkeypatch.setattr(LogDistance, "__call__", lambda self, actions: value)
    obs, zeros = th.randn(2, 3), th.zeros(2, 1)
    q = th.tensor([[3.0], [4.0]])
    monkeypatch.setattr(model, "critic_target", lambda observations, actions: (q, q + 1))
    targets, _, metrics = model.target_q_values(ReplayBufferSamples(obs, zeros, obs, zeros, zeros))
    th.testing.assert_close(targets, GAMMA * (q + ALPHA * value.detach()))
    th.testing.assert_close(metrics["log_distance"], value.mean().detach())

    monkeypatch.setattr(model, "action_value", lambda observations, actions: q)
    loss, metrics, log_prob = model._actor_loss(model.policy.encode_states(obs), th.zeros(()))
    th.testing.assert_close(loss, -(q + ALPHA * value).mean())
    th.testing.assert_close(metrics["actor_loss"], loss.detach())
    loss.backward()
    th.testing.assert_close(value.grad, th.full((2, 1), -ALPHA / 2))
    assert log_prob is not None
    th.testing.assert_close(log_prob, -value.detach())


def test_training() -> None:
    """There is no estimator; actor, critics and temperature are trained."""
    model = make(policy_kwargs=DISTANCE).learn(12)
    before = parameters(model)
    model.train(2, 16)
    assert changed(before, parameters(model)) == {"actor", "critic", "critic_target", "ent_coef"}
    assert not any("score" in name for name in model.logger.name_to_value)


def test_spread_is_learned() -> None:
    """From actions close to each other, it comes close to its supremum over densities on [-1, 1], which is ln ½."""
    model = make(policy_kwargs=DISTANCE | {"net_arch": [64, 64]}, learning_rate=3e-3)
    embedding = model.policy.encode_states(th.randn(256, 3)).embedding.detach()
    with th.no_grad():
        output_layer: Any = model.actor.generator[-1]
        output_layer.weight.mul_(0.1)
    values = []
    for _ in range(300):
        value = LogDistance()(th.tanh(model.actor.sample(embedding, 6))).mean()
        model.actor.optimizer.zero_grad()
        (-value).backward()
        model.actor.optimizer.step()
        values.append(value.item())
    assert values[0] < -2
    assert math.log(0.5) - 0.15 < sum(values[-50:]) / 50 < math.log(0.5) + 0.02


def test_density_is_refused() -> None:
    model = make(policy_kwargs=DISTANCE)
    obs, actions = th.zeros(1, 3), th.zeros(1, 1)
    for call in (lambda: model.policy.log_prob(obs, actions), lambda: model.policy.entropy(obs)):
        with pytest.raises(ValueError, match="`entropy` must be 'score' for a density, got 'distance'"):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"entropy": "knn"}, "`entropy` must be one of 'score', 'distance', got 'knn'"),
        ({"entropy_kwargs": {"beta": 1}}, "`entropy_kwargs` must be empty for entropy='score', got {'beta': 1}"),
        (DISTANCE | {"entropy_kwargs": {"gamma": 1}}, "`entropy_kwargs` must only have the keys 'n_actions', 'beta'"),
        (
            DISTANCE | {"score_kwargs": {"loss": "cv"}},
            "`score_kwargs` must be empty for entropy='distance', got {'loss'",
        ),
        (DISTANCE | {"entropy_kwargs": {"beta": 0}}, "`beta` must be positive, got 0"),
        (DISTANCE | {"entropy_kwargs": {"n_actions": 1}}, "`n_actions` must be >= 2, got 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(policy_kwargs=arguments)
