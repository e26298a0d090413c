"""Flows: determinants against autograd, dependency structure, and the influence of the context."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch as th
from torch.autograd.functional import jacobian

from ardae_rl.dvbf.flows import FlowSequence, InverseAutoregressiveFlow, TrajectoryFlow

D, C, T = 3, 2, 4


def shaken(flow: th.nn.Module) -> Any:
    """Return a flow in float64 that is far from the identity, with determinants that rounding does not destroy."""
    th.manual_seed(0)
    for parameter in flow.parameters():
        parameter.data.normal_(0, 0.3)
    return flow.double()


def points(*shape: int, seed: int = 1) -> th.Tensor:
    return th.randn(shape, generator=th.Generator().manual_seed(seed), dtype=th.float64)


FLOWS: dict[str, Callable[[], th.nn.Module]] = {
    "one": partial(InverseAutoregressiveFlow, D, C),
    "reversed": partial(InverseAutoregressiveFlow, D, C, reverse=True),
    "sequence": partial(FlowSequence, 3, D, C),
}


@pytest.mark.parametrize("name", FLOWS)
def test_determinant(name: str) -> None:
    flow = shaken(FLOWS[name]())
    z, context = points(5, D), points(5, C, seed=2)
    moved, log_determinant = flow(z, context)
    assert moved.shape == (5, D)
    for i in range(5):
        matrix = jacobian(lambda x, i=i: flow(x[None], context[i : i + 1])[0][0], z[i])
        th.testing.assert_close(log_determinant[i], th.linalg.slogdet(matrix)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_flows", [1, 2, 3])
def test_determinant_of_a_trajectory(n_flows: int) -> None:
    """The determinant is that of the map of all (T + 1) d numbers."""
    flow = shaken(TrajectoryFlow(n_flows, D, C, memory=5))
    z, context = points(2, T, D), points(2, T, C, seed=2)
    _, log_determinant = flow(z, context)
    for i in range(2):
        matrix = jacobian(lambda x, i=i: flow(x.view(1, T, D), context[i : i + 1])[0].flatten(), z[i].flatten())
        th.testing.assert_close(log_determinant[i], th.linalg.slogdet(matrix)[1], rtol=1e-9, atol=1e-9)


def test_flows_begin_near_the_identity() -> None:
    """A network's outputs are about 0.3 with PyTorch's initial weights, and a tenth of that here."""
    th.manual_seed(0)
    z, context = points(200, T, D).float(), points(200, T, C, seed=2).float()
    for flow in (InverseAutoregressiveFlow(D, C), TrajectoryFlow(1, D, C, memory=5)):
        moved, log_determinant = flow(z, context)
        assert (moved - z).square().mean().sqrt() < 0.1
        assert log_determinant.abs().mean() < 0.2


def test_order() -> None:
    """The first flow's Jacobian is triangular in time and dimensions; the second flow reverses both orders."""
    z, context = points(1, T, D), points(1, T, C, seed=2)
    flow = shaken(TrajectoryFlow(2, D, C, memory=5))
    one, other = TrajectoryFlow(1, D, C, memory=5).double(), TrajectoryFlow(1, D, C, memory=5).double()
    for single, i in ((one, 0), (other, 1)):
        single.memories[0], single.flows[0] = flow.memories[i], flow.flows[i]
    matrix = jacobian(lambda x: one(x.view(1, T, D), context)[0].flatten(), z.flatten())
    assert bool((matrix.triu(1) == 0).all()) and bool((matrix.tril(-1).abs() > 0).any())
    # Alone, the second flow goes forward in time, and backward in dimensions
    matrix = jacobian(lambda x: other(x.view(1, T, D), context)[0].flatten(), z.flatten()).view(T, D, T, D)
    for t in range(T):
        assert bool((matrix[t, :, t].tril(-1) == 0).all()) and bool((matrix[t, :, t + 1 :] == 0).all())
    # After both, everything depends on everything
    matrix = jacobian(lambda x: flow(x.view(1, T, D), context)[0].flatten(), z.flatten())
    assert bool((matrix.abs() > 0).all())


@pytest.mark.parametrize("name", FLOWS)
def test_context_reaches_every_output(name: str) -> None:
    """This includes the first dimension, which usual masks leave without context."""
    flow = shaken(FLOWS[name]())
    matrix = jacobian(lambda c: flow(points(1, D), c)[0][0], points(1, C, seed=2))[:, 0]
    assert matrix.shape == (D, C) and bool((matrix.abs() > 1e-6).all())


def test_context_of_a_trajectory_reaches_every_output() -> None:
    flow = shaken(TrajectoryFlow(1, D, C, memory=5))
    matrix = jacobian(lambda c: flow(points(1, T, D), c)[0][0], points(1, T, C, seed=2))[:, :, 0]
    for t in range(T):
        assert bool((matrix[t, :, t].abs() > 1e-6).all()), "its own step's"


def test_density_integrates_to_one() -> None:
    """In one dimension, on a grid: N(ε) / |dz/dε| as a density of z."""
    flow = shaken(InverseAutoregressiveFlow(1, 1))
    noise = th.linspace(-9, 9, 20_001, dtype=th.float64)[:, None]
    z, log_determinant = flow(noise, th.full_like(noise, 0.7))
    z, log_determinant = z.detach(), log_determinant.detach()
    density = (th.distributions.Normal(0, 1).log_prob(noise[:, 0]) - log_determinant).exp()
    assert float(th.trapezoid(density, z[:, 0])) == pytest.approx(1, abs=1e-6)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`context_dim` must be >= 1, got 0"):
        InverseAutoregressiveFlow(2, 0)
    with pytest.raises(TypeError, match=r"`dim` must be an integer, got 1\.5"):
        InverseAutoregressiveFlow(1.5, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`n_flows` must be >= 1, got 0"):
        TrajectoryFlow(0, 2, 1)
