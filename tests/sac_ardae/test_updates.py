"""The gradient steps of actor, critics and temperature against examples worked by hand."""

import math
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from ardae_rl.common.squashed import log_tanh_slope
from ardae_rl.sac_ardae import sac_ardae
from tests.sac_ardae import small

ALPHA, RATE = 0.5, 0.1
PRE_TANH = [0.0, 1.0, -2.0, 0.5]
SCORE = [2.0, -1.0, 0.5, 0.0]
LOG_PROB = [0.3, -0.2, 0.1, 0.6]
SLOPE = 3.0  # of Q in the action
BATCH = ReplayBufferSamples(th.zeros(4, 3), th.zeros(4, 1), th.zeros(4, 3), th.zeros(4, 1), th.zeros(4, 1))


def column(values: list[float]) -> th.Tensor:
    return th.tensor(values).unsqueeze(1)


@pytest.mark.parametrize("sign", [1, -1], ids=["entropy rises", "entropy falls"])
def test_actor_by_hand(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descend α ln π - Q: the gradient in an action before tanh is (α ∇ln π - 3 (1 - tanh²)) / 4."""
    model = small.make(ent_coef=ALPHA, clamping_kwargs={"eta": 0})
    outputs = column(PRE_TANH).unsqueeze(1).requires_grad_()  # (4, 1, 1)
    score, log_prob = sign * column(SCORE).unsqueeze(1), column(LOG_PROB)
    monkeypatch.setattr(model.actor, "generate", lambda embedding, noise: outputs)
    monkeypatch.setattr(model.actor, "add_output_noise", lambda samples, frame: samples)
    monkeypatch.setattr(model, "action_value", lambda observations, actions: SLOPE * actions)
    monkeypatch.setattr(sac_ardae, "pre_tanh_score", lambda *_: (score, log_prob))
    loss, metrics, density = model._actor_loss(model._encode_states(th.zeros(4, 3)), th.zeros(()))
    (gradient,) = th.autograd.grad(loss, outputs)
    pairs = zip(PRE_TANH, SCORE, strict=True)
    expected = [(ALPHA * sign * s - SLOPE * (1 - math.tanh(x) ** 2)) / 4 for x, s in pairs]
    th.testing.assert_close(gradient.flatten(), th.tensor(expected))
    values = [SLOPE * math.tanh(x) for x in PRE_TANH]
    mean_loss = sum(ALPHA * lp - q for lp, q in zip(LOG_PROB, values, strict=True)) / 4
    assert metrics["actor_loss"].item() == pytest.approx(mean_loss, rel=1e-5)
    assert metrics["entropy"].item() == pytest.approx(-sum(LOG_PROB) / 4)
    assert density is not None
    th.testing.assert_close(density, log_prob)


def test_actor_reports_a_limited_density_of_saturated_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The temperature learns from it. Before tanh, the density is 1; the gradient keeps the whole slope."""
    model = small.make(ent_coef=ALPHA, clamping_kwargs={"eta": 0})
    outputs = column([1000.0, -50.0, 0.0, 9.0]).unsqueeze(1).requires_grad_()
    monkeypatch.setattr(model.actor, "generate", lambda embedding, noise: outputs)
    monkeypatch.setattr(model.actor, "add_output_noise", lambda samples, frame: samples)
    monkeypatch.setattr(model, "action_value", lambda observations, actions: 0 * actions)
    exact = -log_tanh_slope(outputs.detach())
    monkeypatch.setattr(sac_ardae, "pre_tanh_score", lambda *_: (2 * outputs.detach().tanh(), exact))
    loss, metrics, density = model._actor_loss(model._encode_states(th.zeros(4, 3)), th.zeros(()))
    limit = -math.log(2e-6)
    assert density is not None
    th.testing.assert_close(density, column([limit, limit, 0.0, limit]), rtol=1e-5, atol=1e-5)
    assert metrics["entropy"].item() == pytest.approx(-3 * limit / 4, rel=1e-5)
    (gradient,) = th.autograd.grad(loss, outputs)
    th.testing.assert_close(gradient.flatten(), ALPHA * th.tensor([2.0, -2.0, 0.0, 2.0]) / 4)


def test_critics_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descend the sum over critics of half the mean squared error: the gradient in Q is (Q - target) / 4."""
    model = small.make()
    first, second = (th.nn.Parameter(column(values)) for values in ([1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 3.0]))
    targets = column([2.0, 2.0, -1.0, 1.0])
    monkeypatch.setattr(model, "target_q_values", lambda data: (targets, (first, second), {}))
    model.critic.optimizer = th.optim.SGD([first, second], lr=RATE)
    metrics = model.update_critic(BATCH)
    # Squared errors: 1 + 0 + 1 + 4 of the first, 4 + 1 + 4 + 4 of the second critic
    assert metrics["critic_loss"].item() == pytest.approx(0.5 * 6 / 4 + 0.5 * 13 / 4)
    assert metrics["target_q"].item() == 1
    th.testing.assert_close(first.data, column([1 + RATE / 4, 2.0, -RATE / 4, -1 + 2 * RATE / 4]))
    th.testing.assert_close(second.data, column([2 * RATE / 4, 1 + RATE / 4, 1 - 2 * RATE / 4, 3 - 2 * RATE / 4]))


@pytest.mark.parametrize(("log_prob", "target", "sign"), [(2.0, -1.0, 1), (0.5, -1.0, -1)])
def test_temperature_by_hand(log_prob: float, target: float, sign: int) -> None:
    """With an entropy of -2 below the target of -1, the temperature rises; with one of -0.5, it falls."""
    model: Any = small.make(ent_coef="auto_0.2", target_entropy=target)
    model.ent_coef_optimizer = th.optim.SGD([model.log_ent_coef], lr=RATE)
    metrics = model.update_temperature(th.full((4, 1), log_prob))
    assert metrics["ent_coef_loss"].item() == pytest.approx(-math.log(0.2) * (log_prob + target))
    assert metrics["ent_coef"].item() == pytest.approx(0.2 * math.exp(RATE * (log_prob + target)), rel=1e-5)
    assert math.copysign(1, metrics["ent_coef"].item() - 0.2) == sign


def test_critics_see_actions_and_targets_as_they_are() -> None:
    """The targets carry no gradient, and the actor's step leaves the critics as they are."""
    model = small.make().learn(12)
    targets, values, _ = model.target_q_values(model.replay_buffer.sample(4))  # type: ignore[union-attr]
    assert not targets.requires_grad and all(value.requires_grad for value in values)
    model.critic.optimizer.zero_grad()
    model.update_actor(model._encode_states(th.zeros(4, 3)), th.zeros(()))
    assert all(parameter.grad is None for parameter in model.critic.parameters())


def test_limit_of_the_actors_gradient() -> None:
    assert small.make(actor_gradient_limit=0).limit_actor_gradient is None
    for ratio in (0.5, 3):
        limit = small.make(actor_gradient_limit=ratio).limit_actor_gradient
        assert limit is not None and limit.ratio == ratio


@pytest.mark.filterwarnings("ignore:.*sigma points")
@pytest.mark.parametrize("arguments", [{}, {"generator_arch": [8, 8]}, {"frame": "center"}], ids=str)
def test_gradients_do_not_pass_through_the_frame(arguments: dict[str, Any]) -> None:
    actor = small.make(policy_kwargs=arguments | {"output_noise": 0.0}).actor
    frame = actor.frame(actor.encode(th.randn(4, 3)))
    assert not frame.origin.requires_grad
    assert frame.factor is None or not frame.factor.requires_grad


@pytest.mark.filterwarnings("ignore:.*sigma points")
@pytest.mark.parametrize("generator_arch", [[8], [8, 8]], ids=["with bound", "without"])
def test_modes_of_layers_such_as_batch_normalization(
    generator_arch: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are in training mode for gradient steps alone, and in evaluation mode for measurements and actions."""
    model = small.make(policy_kwargs={"generator_arch": generator_arch})
    assert model.policy.correction is not None
    modes: dict[str, set[bool]] = {}
    for owner, name in (
        (model, "update_networks"),
        (model.policy, "mean_entropy_bound"),
        (model.policy, "_predict"),
    ):
        original = getattr(owner, name)

        def recorded(*args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
            modes.setdefault(name, set()).add(model.policy.training)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, recorded)
    model.learn(20)
    assert modes.pop("mean_entropy_bound", {False}) == {False}
    assert modes == {"update_networks": {True}, "_predict": {False}}
