"""Every term of the discriminator's loss, compared with closed forms, numerical integrals and autograd."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from ardae_rl.irl import BasicRewardNet
from ardae_rl.irl.regularization import (
    Points,
    ProximalPenalty,
    Regularization,
    decision_entropy,
    interpolate,
    squared_gradient,
)
from ardae_rl.irl.transitions import Transitions


def points(n: int = 8, seed: int = 0) -> Points:
    generator = th.Generator().manual_seed(seed)
    return Points(*(th.randn(*shape, generator=generator) for shape in [(n, 3), (n, 2), (n, 3), (n,), (n,)]))


def linear(each: Points) -> th.Tensor:
    """A reward with gradient (1, 2, 2), (3, 0), 0: squared norm 18, of which 9 belongs to the state."""
    return each.features @ th.tensor([1.0, 2.0, 2.0]) + 3 * each.actions[:, 0]


def quadratic(each: Points) -> th.Tensor:
    """A reward with gradient (2 s, a, s')."""
    return each.features.square().sum(1) + each.actions.square().sum(1) / 2 + each.next_features.square().sum(1) / 2


def test_without_settings_it_is_the_loss_of_logistic_regression() -> None:
    demos, samples = points(), points(seed=1)
    loss = Regularization().classification(linear, demos, samples)[0]
    expected = F.softplus(-linear(demos)).mean() + F.softplus(linear(samples)).mean()
    th.testing.assert_close(loss, expected)


def test_label_smoothing() -> None:
    demos, samples = points(), points(seed=1)
    probabilities = [linear(part).sigmoid() for part in (demos, samples)]
    targets = [th.full((8,), value) for value in (0.9, 0.1)]
    loss = Regularization(label_smoothing=0.1).classification(linear, demos, samples)[0]
    expected = sum(
        F.binary_cross_entropy(probability, target) for probability, target in zip(probabilities, targets, strict=True)
    )
    th.testing.assert_close(loss, expected)


def test_entropy_bonus() -> None:
    """The entropy is -D ln D - (1 - D) ln(1 - D); its weight is subtracted from the loss."""
    logits = th.tensor([-3.0, 0.0, 2.0])
    d = logits.sigmoid()
    th.testing.assert_close(decision_entropy(logits), -(d * d.log() + (1 - d) * (1 - d).log()))
    demos, samples = points(), points(seed=1)
    entropy = decision_entropy(th.cat([linear(demos), linear(samples)])).mean()
    loss = Regularization(entropy_bonus=0.3).classification(linear, demos, samples)[0]
    th.testing.assert_close(loss, Regularization().classification(linear, demos, samples)[0] - 0.3 * entropy)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_expectation_of_mixup(alpha: float, smoothing: float) -> None:
    """Over the shares, it is an integral over the density of Beta(α, α), for one pair by the midpoint rule.

    The substitution share = sin² x removes the poles of the density.
    """
    th.manual_seed(0)
    demo, sample = (Points(*(part[:1] for part in points(seed=seed))) for seed in (0, 1))
    n = 40_000
    pairs = [Points(*(part.expand(n, *part.shape[1:]) for part in each)) for each in (demo, sample)]
    regularization = Regularization(mixup=alpha, label_smoothing=smoothing)
    loss = regularization.classification(linear, *pairs)[0]
    angles = (th.arange(2000, dtype=th.float64) + 0.5) / 2000 * math.pi / 2
    share = angles.sin().square()
    log_density = (2 * alpha - 1) * (angles.sin().log() + angles.cos().log())
    weights = log_density.exp() / log_density.exp().sum()
    logits = share * linear(demo).double() + (1 - share) * linear(sample).double()
    targets = share * (1 - smoothing) + (1 - share) * smoothing
    cross_entropies = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    assert float(loss) == pytest.approx(float(weights @ cross_entropies), rel=0.01)


def test_mixtures_are_between_demonstrations_and_samples() -> None:
    demos, samples = points(), points(seed=1)
    share = th.linspace(0, 1, 8)
    mixed = interpolate(demos, samples, share)
    for name in Points._fields:
        demo, sample, mixture = (getattr(part, name) for part in (demos, samples, mixed))
        th.testing.assert_close(mixture[0], sample[0])
        th.testing.assert_close(mixture[7], demo[7])
        th.testing.assert_close(mixture[3], 3 / 7 * demo[3] + 4 / 7 * sample[3])


@pytest.mark.parametrize("where", ["mixture", "samples", "demonstrations"])
@pytest.mark.parametrize(("inputs", "norm"), [("all", math.sqrt(18)), ("state", 3.0)])
@pytest.mark.parametrize("center", [0.0, 1.0])
def test_gradient_penalty_of_a_linear_reward(center: float, inputs: str, norm: float, where: str) -> None:
    """The gradient is the same everywhere."""
    regularization = Regularization(penalty_center=center, penalty_inputs=inputs, penalty_points=where)
    penalty = regularization.penalty(linear, points(), points(seed=1))
    assert float(penalty) == pytest.approx((norm - center) ** 2, rel=1e-5)


def test_gradient_penalty_of_a_quadratic_reward() -> None:
    """The gradient depends on where it is taken."""
    demos, samples = points(), points(seed=1)
    for where, part in (("samples", samples), ("demonstrations", demos)):
        squares = [each.square().sum(1) for each in (part.features, part.actions, part.next_features)]
        expected = 4 * squares[0] + squares[1] + squares[2]
        th.testing.assert_close(squared_gradient(quadratic, part), expected)
        penalty = Regularization(penalty_points=where).penalty(quadratic, demos, samples)
        th.testing.assert_close(penalty, expected.mean())
        one_centered = Regularization(penalty_points=where, penalty_center=1.0).penalty(quadratic, demos, samples)
        th.testing.assert_close(one_centered, (expected.sqrt() - 1).square().mean())


def optimal_reward(**settings: Any) -> list[float]:
    """Return f(x) - f(0) at x = 0, 1, 2 for the f = a + b x² that minimizes the loss, with f - ln q as logits.

    Demonstrations are quantiles of N(0, 1), and samples those of N(0, 2²).
    """
    quantiles = (th.arange(2000, dtype=th.float64) + 0.5) / 2000
    normal, q = th.distributions.Normal(0.0, 1.0), th.distributions.Normal(0.0, 2.0)
    nothing = th.zeros(2000, 0, dtype=th.float64)
    demos, samples = (
        Points(x[:, None], nothing, nothing, quantiles * 0, q.log_prob(x))
        for x in (normal.icdf(quantiles), q.icdf(quantiles))
    )
    a, b = (th.zeros((), dtype=th.float64, requires_grad=True) for _ in range(2))

    def reward(each: Points) -> th.Tensor:
        return a + b * each.features[:, 0].square()

    regularization = Regularization(penalty_points="samples", **settings)
    optimizer = th.optim.LBFGS([a, b], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> th.Tensor:
        optimizer.zero_grad()
        value = regularization.classification(lambda each: reward(each) - each.log_q, demos, samples)[0]
        value = value + regularization.gradient_penalty * regularization.penalty(reward, demos, samples)
        value.backward()
        return value

    optimizer.step(loss)
    return [float(b.detach()) * x**2 for x in range(3)]


def test_a_gradient_penalty_shrinks_the_reward() -> None:
    """Without it, the optimum is the log-density of the demonstrations, -x² / 2 and a constant."""
    assert optimal_reward() == pytest.approx([0.0, -0.5, -2.0], abs=0.01)
    assert optimal_reward(gradient_penalty=0.1) == pytest.approx([0.0, -0.227, -0.907], abs=0.01)
    assert optimal_reward(gradient_penalty=1.0) == pytest.approx([0.0, -0.063, -0.254], abs=0.01)


@pytest.mark.parametrize("center", [0.0, 1.0])
def test_gradient_of_the_gradient_penalty(center: float) -> None:
    """With respect to the parameters: by autograd through the penalty, and by differences of the penalty."""
    th.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    demos, samples = (Points(*(part.double() for part in points(seed=seed))) for seed in (0, 1))

    def reward(each: Points) -> th.Tensor:
        value: th.Tensor = network(th.cat([each.features, each.actions, each.next_features], 1)).squeeze(1)
        return value

    regularization = Regularization(penalty_center=center, penalty_points="samples")
    weight: Any = network[0].weight
    (gradient,) = th.autograd.grad(regularization.penalty(reward, demos, samples), weight)
    step = 1e-6
    for row, column in ((0, 0), (3, 5), (5, 7)):
        values = []
        for sign in (1, -1):
            with th.no_grad():
                weight[row, column] += sign * step
            values.append(regularization.penalty(reward, demos, samples).item())
            with th.no_grad():
                weight[row, column] -= sign * step
        assert float(gradient[row, column]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5, abs=1e-9)


class Level(nn.Module):
    """A reward that is the same number everywhere."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(th.tensor(value, dtype=th.float64))

    def forward(self, observations: Any, actions: Any, next_observations: Any, terminated: th.Tensor) -> th.Tensor:
        return self.value.expand(len(terminated))


BATCH = Transitions(th.zeros(8, 3), th.zeros(8, 2), th.zeros(8, 3), th.zeros(8))


def test_fixed_point_of_the_proximal_step() -> None:
    """A step minimizes ½ (r - 2)² + w (r - r_old)², so r = (2 + 2 w r_old) / (1 + 2 w); the fixed point is r = 2."""
    network, proximal = Level(-1.0), ProximalPenalty(weight=3.0, target=0.1)
    for _ in range(60):
        before = float(network.value)
        proximal.start_round(network)
        optimizer = th.optim.SGD(network.parameters(), lr=1 / 7)  # 1 / second derivative: one Newton step
        loss = (network.value - 2).square() / 2 + proximal.weight * proximal.change(network(*BATCH), BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert float(network.value) == pytest.approx((2 + 6 * before) / 7, abs=1e-12)
    assert float(network.value) == pytest.approx(2, abs=1e-3)
    proximal.start_round(network)
    assert float(proximal.change(network(*BATCH), BATCH)) == 0


def test_proximal_penalty_of_images() -> None:
    """A change of the features extractor alone changes the reward."""
    kwargs: dict[str, Any] = {"hidden": (8,), "features_extractor_kwargs": {"features_dim": 8}}
    th.manual_seed(0)
    net = BasicRewardNet(spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Box(-1, 1, (2,)), **kwargs)
    images = th.randint(256, (8, 3, 36, 36), dtype=th.uint8)
    batch = BATCH._replace(observations=images, next_observations=images)
    with th.no_grad():
        before = net(*batch)
        proximal = ProximalPenalty(1.0, 0.1)
        proximal.start_round(net)
        for parameter in net.features_extractor.parameters():
            parameter.mul_(1.5)
        after = net(*batch)
        assert float(proximal.change(after, batch)) == pytest.approx(float((after - before).square().mean()), rel=1e-4)
    assert float((after - before).abs().max()) > 0
    assert set(proximal.state_dict()) == {"weight"}


def test_weight_of_the_proximal_penalty_adapts() -> None:
    proximal = ProximalPenalty(weight=4.0, target=1.0)
    for change, expected in ((1.6, 8.0), (1.0, 8.0), (0.5, 4.0), (0.7, 4.0)):
        proximal.adapt(th.tensor(change))
        assert float(proximal.weight) == expected
    assert "weight" in proximal.state_dict()
    with pytest.raises(RuntimeError, match="`start_round` must be called"):
        ProximalPenalty(1.0, 1.0).change(th.zeros(8), BATCH)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gradient_penalty": -1.0}, "`gradient_penalty` must be >= 0, got -1.0"),
        (
            {"penalty_points": "all"},
            "`penalty_points` must be one of 'mixture', 'samples', 'demonstrations', got 'all'",
        ),
        ({"penalty_inputs": "action"}, "`penalty_inputs` must be one of 'all', 'state', got 'action'"),
        ({"label_smoothing": 0.6}, "`label_smoothing` must be between 0 and 0.5, got 0.6"),
        ({"proximal_target": 0.0}, "`proximal_target` must be positive, got 0.0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Regularization(**settings)
