"""Logits, losses, steps and rewards of the discriminators against examples worked by hand."""

import math
from typing import Any

import pytest
import torch as th

from ardae_rl.irl import AIRL, GAIL, GANGCL
from ardae_rl.irl.discriminator import Samples
from ardae_rl.irl.gan_gcl import Episodes
from ardae_rl.irl.transitions import Transitions
from tests.irl.counting import Counting
from tests.irl.test_adversarial import demonstrations, make

LOG_Q = [-1.0, 0.5, -2.0]
RATE, GAMMA = 0.1, 0.9


def transitions(states: list[float], actions: list[float], next_states: list[float], ends: list[float]) -> Transitions:
    before, after = (th.tensor([[state, 0.0] for state in part]) for part in (states, next_states))
    return Transitions(before, th.tensor(actions).unsqueeze(1), after, th.tensor(ends))


DEMOS = transitions([1.0, 2.0, 3.0], [2.0, 0.0, -2.0], [2.0, 3.0, 4.0], [0.0, 0.0, 1.0])
SAMPLES = transitions([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])


def linear(model: Any, weights: dict[str, list[float]]) -> None:
    """Make the networks of a model's reward linear, without normalization of observations."""
    net = model.reward_net
    net.center.zero_()
    net.scale.fill_(1)
    net.action_limit.fill_(1)
    for name, values in weights.items():
        layer = th.nn.Linear(len(values), 1)
        layer.weight.data, layer.bias.data = th.tensor([values]), th.zeros(1)
        setattr(net, name, th.nn.Sequential(layer))


def airl(generator: str = "sac") -> Any:
    """Return AIRL with g = s / 2 + a and h = s / 4, for actions a rescaled to [-1, 1]."""
    model = make(AIRL, generator, generator_kwargs={"gamma": GAMMA})
    linear(model, {"network": [0.5, 0.0, 1.0], "potential": [0.25, 0.0]})
    return model


F_DEMOS = [
    0.5 * 1 + 1 + GAMMA * 0.25 * 2 - 0.25 * 1,
    0.5 * 2 + 0 + GAMMA * 0.25 * 3 - 0.25 * 2,
    0.5 * 3 - 1 + 0 - 0.25 * 3,  # a terminal step has no potential afterwards
]
F_SAMPLES = [
    0 + 0 + GAMMA * 0.25 * 1 - 0,
    0.5 + 0.5 + GAMMA * 0.25 * 2 - 0.25,
    1 + 1 + GAMMA * 0.25 * 3 - 0.5,
]


def test_logits_of_airl() -> None:
    """D = e^f / (e^f + q) with f = g + γ h(s') - h(s)."""
    model = airl()
    logits = model.discriminator.logits(DEMOS, th.tensor(LOG_Q))
    th.testing.assert_close(logits, th.tensor([f - q for f, q in zip(F_DEMOS, LOG_Q, strict=True)]))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("method", [AIRL, GAIL])
def test_loss_and_step(method: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """-ln D of demonstrations - ln(1 - D) of samples, and a step along its gradient in the weight of the action."""
    model: Any = airl() if method is AIRL else make(GAIL)
    if method is GAIL:
        linear(model, {"network": [0.5, 0.0, 1.0]})
    log_q = th.tensor(LOG_Q) if method is AIRL else th.zeros(3)
    monkeypatch.setattr(model.discriminator, "_draw", lambda part: part)  # the whole batch
    data = Samples(DEMOS, log_q), Samples(SAMPLES, log_q)
    loss, metrics = model.discriminator.loss(*data, model.generator)
    rewards = (F_DEMOS, F_SAMPLES) if method is AIRL else ([1.5, 1.0, 0.5], [0.0, 1.0, 2.0])
    demo_logits, sample_logits = ([r - q for r, q in zip(part, log_q.tolist(), strict=True)] for part in rewards)
    expected = sum(map(softplus, (-x for x in demo_logits))) / 3 + sum(map(softplus, sample_logits)) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["demo_accuracy"].item() == pytest.approx(sum(x > 0 for x in demo_logits) / 3)
    assert metrics["sample_accuracy"].item() == pytest.approx(sum(x < 0 for x in sample_logits) / 3)
    # Actions: 1, 0, -1 of the demonstrations and 0, 1/2, 1 of the samples
    gradient = sum(-(1 - sigmoid(x)) * a for x, a in zip(demo_logits, (1, 0, -1), strict=True)) / 3
    gradient += sum(sigmoid(x) * a for x, a in zip(sample_logits, (0, 0.5, 1), strict=True)) / 3
    model.optimizer = th.optim.SGD(model.discriminator.parameters(), lr=RATE)
    loss.backward()
    model.optimizer.step()
    assert model.reward_net.network[0].weight[0, 2].item() == pytest.approx(1 - RATE * gradient, rel=1e-5)


def test_rewards_of_airl(monkeypatch: pytest.MonkeyPatch) -> None:
    """f for generators that add the entropy themselves, f - ln π for on-policy ones."""
    th.testing.assert_close(airl().reward(DEMOS), th.tensor(F_DEMOS))
    model = airl("ppo")
    monkeypatch.setattr(model.discriminator, "log_prob", lambda *_: th.tensor(LOG_Q))
    th.testing.assert_close(model.reward(DEMOS), th.tensor([f - q for f, q in zip(F_DEMOS, LOG_Q, strict=True)]))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("softplus", [softplus(1.5), softplus(1.0), softplus(0.5)]),  # -ln(1 - D)
        ("logit", [1.5, 1.0, 0.5]),  # ln D - ln(1 - D)
        ("log", [-softplus(-1.5), -softplus(-1.0), -softplus(-0.5)]),  # ln D
    ],
)
def test_rewards_of_gail(form: str, expected: list[float]) -> None:
    model = make(GAIL, discriminator_kwargs={"reward": form})
    linear(model, {"network": [0.5, 0.0, 1.0]})
    th.testing.assert_close(model.reward(DEMOS), th.tensor(expected))


def test_loss_of_gan_gcl() -> None:
    """Two episodes each: logit D = R(τ) - ln Z - ln q(τ), with Z by importance sampling from the mixture of both."""
    model = make(GANGCL, demos=demonstrations(2), env=Counting(), discriminator_kwargs={"partition": "sampler"})
    linear(model, {"network": [0.5, 0.0, 1.0]})
    demos = Episodes(DEMOS, [2, 1], th.tensor([-1.0, -0.5]))
    samples = Episodes(SAMPLES, [1, 2], th.tensor([0.5, -2.0]))
    loss, metrics = model.discriminator.loss(demos, samples, model.generator)
    demo_returns, sample_returns = [1.5 + 1.0, 0.5], [0.0, 1.0 + 2.0]
    log_z = math.log((math.exp(0 - 0.5) + math.exp(3 + 2)) / 2)
    demo_logits = [r - log_z - q for r, q in zip(demo_returns, (-1.0, -0.5), strict=True)]
    sample_logits = [r - log_z - q for r, q in zip(sample_returns, (0.5, -2.0), strict=True)]
    assert metrics["log_partition"].item() == pytest.approx(log_z, rel=1e-5)
    expected = sum(map(softplus, (-x for x in demo_logits))) / 2 + sum(map(softplus, sample_logits)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
