"""Helpers of training loops."""

import math

import pytest
import torch as th

from ardae_rl.common.training import GradientLimit, MetricMeans, frozen, polyak_update_foreach


def test_means_over_steps() -> None:
    means = MetricMeans()
    for value in (1.0, 3.0):
        means.add({"loss": th.tensor([value]), "norm": th.tensor(10 * value)})
    assert means.finite(after="2 steps") == {"loss": 2, "norm": 20}
    assert MetricMeans().finite(after="none") == {}


def test_means_over_many_steps() -> None:
    means = MetricMeans()
    for value in range(1000):
        means.add({"loss": th.tensor(float(value))} | ({"late": th.tensor(2.0)} if value == 999 else {}))
    assert means.finite(after="1000 steps") == {"loss": 499.5, "late": 2}
    means.add({"loss": th.tensor(math.nan)})
    with pytest.raises(ValueError, match="loss is nan after 1001 steps"):
        means.finite(after="1001 steps")


def test_the_metric_that_diverged_first_is_named() -> None:
    means = MetricMeans()
    means.add({"loss": th.tensor(1.0), "norm": th.tensor(math.inf)})
    means.add({"loss": th.tensor(math.nan), "norm": th.tensor(math.inf)})
    with pytest.raises(ValueError, match="norm is inf after 2 steps: training has diverged"):
        means.finite(after="2 steps")


def test_polyak_update() -> None:
    """(1 - τ) target + τ parameter, in place and without gradients."""
    newest, target = th.nn.Linear(1, 1), th.nn.Linear(1, 1)
    for network, value in ((newest, 3.0), (target, 1.0)):
        for parameter in network.parameters():
            th.nn.init.constant_(parameter, value)
    polyak_update_foreach(newest.parameters(), target.parameters(), 0.25)
    assert [parameter.item() for parameter in target.parameters()] == [1.5, 1.5]
    assert [parameter.item() for parameter in newest.parameters()] == [3, 3]


def test_frozen() -> None:
    """Gradients reach the network's input but not its parameters, whose ``requires_grad`` is restored."""
    network = th.nn.Linear(3, 1)
    network.bias.requires_grad_(False)
    x = th.ones(2, 3, requires_grad=True)
    with pytest.raises(KeyError), frozen(network.parameters()):
        network(x).sum().backward()
        raise KeyError
    assert x.grad is not None and th.equal(x.grad, network.weight.detach().expand(2, 3))
    assert network.weight.grad is None
    assert network.weight.requires_grad and not network.bias.requires_grad


def test_gradients_above_the_limit_are_clipped() -> None:
    parameter, limit = th.nn.Parameter(th.zeros(2)), GradientLimit(ratio=1.5, horizon=10)

    def limited(norm: float) -> float:
        parameter.grad = norm * th.tensor([0.6, 0.8])
        assert limit([parameter]).item() == pytest.approx(norm)
        th.testing.assert_close(parameter.grad / parameter.grad.norm(), th.tensor([0.6, 0.8]))  # the same direction
        return parameter.grad.norm().item()

    assert limited(2.0) == pytest.approx(2.0), "the first norm initializes the mean"
    assert limited(2.9) == pytest.approx(2.9)
    usual = 2.0 + 0.1 * 0.9
    assert limit.mean_norm.item() == pytest.approx(usual)
    assert limited(100.0) == pytest.approx(1.5 * usual)
    assert limit.mean_norm.item() == pytest.approx(usual + 0.1 * 0.5 * usual), "the mean takes the clipped norm"
    copy = GradientLimit(ratio=1.5)
    copy.load_state_dict(limit.state_dict())
    assert copy.mean_norm == limit.mean_norm
