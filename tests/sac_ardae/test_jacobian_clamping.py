"""Jacobian clamping of a linear generator, whose finite differences are exact."""

import pytest
import torch as th

from ardae_rl.sac_ardae.jacobian_clamping import (
    clamping_penalty,
    clamping_weight,
    squared_singular_value_estimates,
    with_perturbed,
)

WEIGHT = th.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=th.float64)


def ratios(weight: th.Tensor, n_states: int, n_perturb: int, xi: float = 0.01) -> th.Tensor:
    noise = with_perturbed(th.randn(n_states, 1, weight.shape[1], dtype=weight.dtype), n_perturb, xi)
    return squared_singular_value_estimates(noise, noise @ weight.t())


@pytest.mark.parametrize("xi", [1e-3, 0.01, 1.0])
def test_closed_form(xi: float) -> None:
    """‖A v‖² / ‖v‖², for directions drawn from the same seed."""
    th.manual_seed(0)
    noise = th.randn(5, 1, 3, dtype=th.float64)
    th.manual_seed(1)
    perturbed = with_perturbed(noise, 4, xi)
    assert th.equal(perturbed[:, :1], noise)
    estimates = squared_singular_value_estimates(perturbed, perturbed @ WEIGHT.t())
    th.manual_seed(1)
    direction = th.randn(5, 4, 3, dtype=th.float64)
    th.testing.assert_close(perturbed[:, 1:] - noise, xi * direction)
    expected = (direction @ WEIGHT.t()).square().sum(-1) / direction.square().sum(-1)
    assert estimates.shape == (5, 4)
    th.testing.assert_close(estimates, expected, rtol=1e-8, atol=1e-8)


def test_mean_and_bounds() -> None:
    """In expectation ‖A‖² / k, for k-dimensional noise; never outside of the squared singular values."""
    th.manual_seed(0)
    estimates = ratios(WEIGHT, 2000, 10)
    assert estimates.mean().item() == pytest.approx(5 / 3, rel=0.02)
    assert 0 <= estimates.min() and estimates.max() <= 4 + 1e-9
    th.testing.assert_close(ratios(3 * th.eye(2, dtype=th.float64), 5, 2), th.full((5, 2), 9, dtype=th.float64))


def test_penalty_by_hand() -> None:
    assert clamping_penalty(th.tensor([[0.1, 0.5], [2.0, 0.1]]), eta=0.1) == 0
    # (0.05² + 0 + 0.1² + 0) / 4
    penalty = clamping_penalty(th.tensor([[0.05, 0.5], [0.0, 0.2]]), eta=0.1)
    assert penalty.item() == pytest.approx(0.0125 / 4)


def test_penalty_widens_a_narrow_sampler_alone() -> None:
    """Its gradient increases a scale below sqrt(η), and leaves a larger one alone."""
    for scale, sign in ((0.1, -1), (1.0, 0)):
        th.manual_seed(0)
        weight = (scale * th.eye(2)).requires_grad_()
        clamping_penalty(ratios(weight, 50, 1), eta=0.1).backward()
        assert weight.grad is not None
        assert th.equal(weight.grad.diagonal().sign(), th.full((2,), float(sign)))


@pytest.mark.parametrize(
    ("iteration", "nu", "weight"),
    [
        (0, 1.1, 1),
        (1, 1.1, 1.001),
        (1000, 1.0, 2),
        (100, 1.5, 2),
        (1_000_000, 1.1, 3982.07),  # 1 + 10^6.6 / 1000
        (1_000_000, 1.5, 1e5),  # the cap
    ],
)
def test_weight_by_hand(iteration: int, nu: float, weight: float) -> None:
    assert clamping_weight(th.tensor(float(iteration)), nu, 1e5).item() == pytest.approx(weight, rel=1e-5)
