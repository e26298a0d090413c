"""Invariants of every flow: log-determinants, inverses, densities that integrate to one, gradients, saving."""

import math

import pytest
import torch as th

from ardae_rl.sac_nf.flows import FLOWS, Flow, FlowSequence, PlanarFlow, RadialFlow, make_flow

CONTEXT_DIM = 3
all_flows = pytest.mark.parametrize("kind", FLOWS)
dims = pytest.mark.parametrize("dim", [1, 2, 5])


def random_flow(kind: str, dim: int, n_flows: int = 3, seed: int = 0) -> FlowSequence:
    """Return a flow far from the identity, in double precision. Networks amplify their parameters: less noise there."""
    th.manual_seed(seed)
    flow = make_flow(kind, n_flows, dim, CONTEXT_DIM).double()
    spread = 0.5 if kind in ("radial", "planar") else 0.05
    with th.no_grad():
        for parameter in flow.parameters():
            parameter.add_(spread * th.randn_like(parameter))
    return flow


def points(dim: int, n: int = 20) -> tuple[th.Tensor, th.Tensor]:
    return th.randn(n, dim, dtype=th.float64), th.randn(n, CONTEXT_DIM, dtype=th.float64)


@all_flows
@dims
def test_log_determinant_against_autograd(kind: str, dim: int) -> None:
    flow = random_flow(kind, dim)
    z, context = points(dim, n=6)
    x, log_det = flow(z, context)
    assert x.shape == z.shape and log_det.shape == (6,)
    for k in range(len(z)):
        jacobian = th.autograd.functional.jacobian(lambda p, k=k: flow(p[None], context[k : k + 1])[0][0], z[k])
        th.testing.assert_close(log_det[k], th.linalg.slogdet(jacobian).logabsdet, rtol=1e-8, atol=1e-8)


def test_radial_flows_begin_around_the_origin() -> None:
    th.manual_seed(0)
    assert RadialFlow(1000).center.std().item() == pytest.approx(0.01, rel=0.1)


@all_flows
@dims
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inverse(kind: str, dim: int, seed: int) -> None:
    flow = random_flow(kind, dim, seed=seed)
    z, context = points(dim)
    x, log_det = flow(z, context)
    back, inverse_log_det = flow.inverse(x, context)
    th.testing.assert_close(back, z, rtol=1e-6, atol=1e-6)
    th.testing.assert_close(inverse_log_det, -log_det, rtol=1e-6, atol=1e-6)


@all_flows
@pytest.mark.parametrize("dim", [1, 2])
def test_density_integrates_to_one(kind: str, dim: int) -> None:
    """A standard normal is transformed, and its density integrated over a grid that misses a negligible share."""
    flow = random_flow(kind, dim)
    reach, step = 14 if kind in ("radial", "planar") else 9, 0.005 if dim == 1 else 0.15
    axis = th.arange(-reach, reach, step, dtype=th.float64)
    x = th.cartesian_prod(*[axis] * dim).view(-1, dim)
    with th.no_grad():
        z, log_det = flow.inverse(x, th.zeros(len(x), CONTEXT_DIM, dtype=th.float64))
    density = (-0.5 * z.square().sum(-1) - 0.5 * dim * math.log(2 * math.pi) + log_det).exp()
    assert float(density.sum()) * step**dim == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("flow", [RadialFlow(3), PlanarFlow(3)], ids=["radial", "planar"])
def test_invertible_whatever_the_parameters(flow: Flow) -> None:
    """The radius, or the height above the plane, increases monotonically, also for large parameters of both signs."""
    th.manual_seed(0)
    z = 3 * th.randn(500, 3)
    for _ in range(30):
        with th.no_grad():
            for parameter in flow.parameters():
                parameter.normal_(std=3)
            _, log_det = flow(z, th.zeros(500, 0))
        assert bool(log_det.isfinite().all())


@pytest.mark.parametrize("kind", ["radial", "planar"])
def test_starts_near_the_identity(kind: str) -> None:
    th.manual_seed(0)
    flow = make_flow(kind, 3, 4, CONTEXT_DIM)
    z = th.randn(50, 4)
    x, log_det = flow(z, th.randn(50, CONTEXT_DIM))
    assert (x - z).abs().max() < 0.2 and log_det.abs().max() < 0.2


@all_flows
@dims
def test_every_parameter_gets_a_gradient(kind: str, dim: int) -> None:
    flow = random_flow(kind, dim, n_flows=2)
    x, log_det = flow(*points(dim))
    (x.square().sum() + log_det.sum()).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        if not (kind in ("autoregressive", "coupling") and dim == 1):
            assert parameter.grad.abs().max() > 0, name


@all_flows
def test_saved_and_loaded(kind: str) -> None:
    """The state holds floating-point tensors only, as SB3 expects, and everything that the map depends on."""
    flow, other = random_flow(kind, 3), random_flow(kind, 3, seed=1)
    assert all(tensor.is_floating_point() for tensor in flow.state_dict().values())
    other.load_state_dict(flow.state_dict())
    z, context = points(3)
    th.testing.assert_close(other(z, context), flow(z, context), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["autoregressive", "coupling"])
def test_depends_on_the_context(kind: str) -> None:
    flow = random_flow(kind, 2)
    z, context = points(2)
    assert not th.allclose(flow(z, context)[0], flow(z, context + 1)[0])


@pytest.mark.parametrize(("kind", "n_pairs"), [("coupling", 4), ("autoregressive", 6)])
def test_which_dimensions_depend_on_which(kind: str, n_pairs: int) -> None:
    """Of four dimensions: two on two others in a coupling flow, each on all before it in an autoregressive one."""
    flow = random_flow(kind, 4, n_flows=1)
    z, context = points(4, 1)
    jacobian = th.autograd.functional.jacobian(lambda x: flow(x, context)[0].sum(0), z).squeeze()
    assert jacobian.shape == (4, 4) and bool((jacobian.diagonal() != 0).all())
    assert int((jacobian - jacobian.diagonal().diag() != 0).sum()) == n_pairs
