"""What training loops share."""

import math

import pytest
import torch as th

from ardae_rl.common.training import MetricMeans, held_fixed


def test_means_over_steps() -> None:
    means = MetricMeans()
    for value in (1.0, 3.0):
        means.add({"loss": th.tensor([value]), "norm": th.tensor(10 * value)})
    assert means.finite(after="2 steps") == {"loss": 2, "norm": 20}
    assert MetricMeans().finite(after="none") == {}


def test_the_metric_that_broke_first_is_named() -> None:
    means = MetricMeans()
    means.add({"loss": th.tensor(1.0), "norm": th.tensor(math.inf)})
    means.add({"loss": th.tensor(math.nan), "norm": th.tensor(math.inf)})
    with pytest.raises(ValueError, match="norm is inf after 2 steps: training has diverged"):
        means.finite(after="2 steps")


def test_held_fixed() -> None:
    """Gradients go through the network to its input, not to its parameters; which of these are trained is kept."""
    network = th.nn.Linear(3, 1)
    network.bias.requires_grad_(False)
    x = th.ones(2, 3, requires_grad=True)
    with pytest.raises(KeyError), held_fixed(network.parameters()):
        network(x).sum().backward()
        raise KeyError
    assert x.grad is not None and th.equal(x.grad, network.weight.detach().expand(2, 3))
    assert network.weight.grad is None
    assert network.weight.requires_grad and not network.bias.requires_grad
