"""The derivatives written out by hand against autograd, in double precision."""

from typing import Any

import pytest
import torch as th

from ardae_rl.score.activations import ACTIVATIONS
from ardae_rl.score.networks import ConditionalNetwork, ScalarNetwork

DIM, CONTEXT_DIM, BATCH, N = 3, 2, 4, 5
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"context_dim": 0},
    "one layer": {"context_dim": 0, "hidden": (7,)},
    "context": {"context_gain": False},
    "context with gain": {},
    "linear context": {"context_hidden": ()},
    "point layers": {"point_hidden": (6, 5)},
    "point layers without context": {"point_hidden": (6,), "context_dim": 0},
    "frequencies": {"n_frequencies": 4},
    "frequencies before point layers": {"n_frequencies": 4, "point_hidden": (6,), "context_dim": 0},
}


def make_network(activation: str, shape: dict[str, Any], seed: int = 0) -> ScalarNetwork:
    th.manual_seed(seed)
    sizes: dict[str, Any] = {"context_dim": CONTEXT_DIM, "hidden": (7, 6, 5), "context_hidden": (8,)}
    network = ScalarNetwork(DIM, n_out=1, activation=activation, **(sizes | shape)).double()
    # The output layer starts at zero, which would hide errors. (Much larger weights would reach pre-activations
    # above 20, where torch's softplus is the identity, 2e-9 off its own formula.)
    for parameter in network.parameters():
        th.nn.init.normal_(parameter, std=0.4)
    return network


def make_inputs(network: ScalarNetwork) -> tuple[th.Tensor, th.Tensor, th.Tensor | None]:
    point = th.randn(BATCH, N, DIM, dtype=th.float64, requires_grad=True)
    noise_feature = th.randn(BATCH, N, 1, dtype=th.float64, requires_grad=True)
    context = None if network.context_encoder is None else th.randn(BATCH, CONTEXT_DIM, dtype=th.float64)
    return point, noise_feature, context


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_by_hand_equal_autograd(activation: str, shape: dict[str, Any]) -> None:
    network = make_network(activation, shape)
    point, noise_feature, context = make_inputs(network)

    def by_hand() -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        gradients = network.with_gradients(point, noise_feature, network.encode(context), True)
        assert gradients.noise_feature is not None
        return gradients.value, gradients.point, gradients.noise_feature

    def by_autograd() -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        value = network(point, noise_feature, network.encode(context)).squeeze(-1)
        gradients = th.autograd.grad(value.sum(), (point, noise_feature), create_graph=True)
        return value, gradients[0], gradients[1].squeeze(-1)

    results = []
    for outputs in (by_hand(), by_autograd()):
        value, point_gradient, noise_gradient = outputs
        # A loss on all three, so that the parameters' gradients include those through the derivatives
        loss = value.sin().sum() + (point_gradient.square().sum(-1) * noise_gradient).mean()
        gradients = th.autograd.grad(loss, list(network.parameters()))
        results.append((*outputs, *gradients))
    for hand, autograd in zip(*results, strict=True):
        assert hand.shape == autograd.shape
        th.testing.assert_close(hand, autograd, rtol=1e-9, atol=1e-9)
    assert all(bool(tensor.abs().max() > 1e-6) for tensor in results[0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_and_module_match_the_value(activation: str) -> None:
    pair = ACTIVATIONS[activation]
    x = th.linspace(-6, 6, 41, dtype=th.float64, requires_grad=True)
    value, slope = pair.value_and_slope(x)
    th.testing.assert_close(value, pair.value(x))
    th.testing.assert_close(value, pair.module()(x))
    th.testing.assert_close(slope, th.autograd.grad(value.sum(), x)[0])


def test_one_noise_feature_for_all_points() -> None:
    network = make_network("silu", {})
    point, _, context = make_inputs(network)
    embedding = network.encode(context)
    shared = th.full((1, 1, 1), 0.3, dtype=th.float64)
    for one, each in zip(
        network.with_gradients(point, shared, embedding, True),
        network.with_gradients(point, shared.expand(BATCH, N, 1), embedding, True),
        strict=True,
    ):
        th.testing.assert_close(one, each)


def test_without_context_it_is_a_perceptron() -> None:
    """Of the point and the noise feature, whose first layer is in two parts."""
    network = make_network("silu", {"context_dim": 0})
    point, noise_feature, _ = make_inputs(network)
    h = th.nn.functional.silu(network.joining_layer(point) + network.noise_layer(noise_feature))
    for layer in network.hidden_layers:
        h = th.nn.functional.silu(layer(h))
    th.testing.assert_close(network(point, noise_feature, network.encode(None)), network.output_layer(h))


def test_each_context_has_its_own_points() -> None:
    """Rows of the batch do not mix: a row on its own gives the output that it has in the batch."""
    network = make_network("silu", {})
    point, noise_feature, context = make_inputs(network)
    assert context is not None
    whole = network(point, noise_feature, network.encode(context))
    row = network(point[2:3], noise_feature[2:3], network.encode(context[2:3]))
    th.testing.assert_close(whole[2:3], row)
    assert not th.allclose(whole[2:3], network(point[2:3], noise_feature[2:3], network.encode(context[1:2])))


@pytest.mark.parametrize("n_frequencies", [0, 32])
def test_starts_at_zero_with_unit_projections(n_frequencies: int) -> None:
    th.manual_seed(0)
    network = ConditionalNetwork(64, 0, n_out=3, hidden=(512,), n_frequencies=n_frequencies)
    point = th.randn(20, 50, 64)
    assert network(point, th.zeros(1, 1, 1), network.encode(None)).abs().max() == 0
    assert network.joining_layer(network.features(point)).std().item() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "relu"}, "'silu', 'softplus', 'elu'"),
        ({"hidden": ()}, "at least one"),
        ({"n_frequencies": -1}, "`n_frequencies` must be >= 0, got -1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConditionalNetwork(2, 0, n_out=1, **arguments)
