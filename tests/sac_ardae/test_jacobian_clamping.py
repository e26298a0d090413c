"""Jacobian clamping of a linear generator, whose finite differences are exact."""

import math
from typing import Any

import pytest
import torch as th

from ardae_rl.sac_ardae.jacobian_clamping import JacobianClamping, squared_ratios

WEIGHT = th.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=th.float64)


def perturbed(clamping: JacobianClamping, weight: th.Tensor, n_states: int) -> tuple[th.Tensor, th.Tensor]:
    """Return noise with its perturbations, and the outputs of a linear sampler."""
    noise = clamping.perturb(th.randn(n_states, 1, weight.shape[1], dtype=weight.dtype))
    return noise, noise @ weight.t()


def ratios(weight: th.Tensor, n_states: int, n_perturbations: int) -> th.Tensor:
    return squared_ratios(*perturbed(JacobianClamping(n_perturbations=n_perturbations), weight, n_states))


@pytest.mark.parametrize("xi", [1e-3, 0.01, 1.0])
def test_closed_form(xi: float) -> None:
    """The ratios are ‖A v‖² / ‖v‖² for the directions v that the same seed gives."""
    th.manual_seed(0)
    noise = th.randn(5, 1, 3, dtype=th.float64)
    th.manual_seed(1)
    with_perturbations = JacobianClamping(xi=xi, n_perturbations=4).perturb(noise)
    assert th.equal(with_perturbations[:, :1], noise)
    estimates = squared_ratios(with_perturbations, with_perturbations @ WEIGHT.t())
    th.manual_seed(1)
    direction = th.randn(5, 4, 3, dtype=th.float64)
    th.testing.assert_close(with_perturbations[:, 1:] - noise, xi * direction)
    expected = (direction @ WEIGHT.t()).square().sum(-1) / direction.square().sum(-1)
    assert estimates.shape == (5, 4)
    th.testing.assert_close(estimates, expected, rtol=1e-8, atol=1e-8)


def test_mean_and_bounds() -> None:
    """The expectation is ‖A‖² / k for k-dimensional noise, and all ratios lie between the squared singular values."""
    th.manual_seed(0)
    estimates = ratios(WEIGHT, 2000, 10)
    assert estimates.mean().item() == pytest.approx(5 / 3, rel=0.02)
    assert 0 <= estimates.min() and estimates.max() <= 4 + 1e-9
    th.testing.assert_close(ratios(3 * th.eye(2, dtype=th.float64), 5, 2), th.full((5, 2), 9, dtype=th.float64))


def test_penalty_by_hand() -> None:
    """The noise moves by one in each direction, so the ratios are the squared outputs."""
    clamping = JacobianClamping(eta=0.1, output="pre_tanh")
    noise = th.tensor([0.0, 1.0, 1.0]).expand(2, -1).unsqueeze(-1)

    def penalty(ratios: list[list[float]]) -> float:
        outputs = th.cat([th.zeros(2, 1), th.tensor(ratios).sqrt()], dim=1).unsqueeze(-1)
        return clamping.penalty(noise, outputs).item()

    assert penalty([[0.1001, 0.5], [2.0, 0.1001]]) == 0
    # (0.05² + 0 + 0.1² + 0) / 4
    assert penalty([[0.05, 0.5], [0.0, 0.2]]) == pytest.approx(0.0125 / 4)


def test_output_that_is_clamped() -> None:
    """Near its bound an action hardly moves with the noise, even where its value before tanh does."""
    noise, pre_tanh = th.tensor([[[0.0], [1.0]]]), th.tensor([[[2.0], [3.0]]])
    step = math.tanh(3) - math.tanh(2)
    expected = {"tanh": (step**2 - 0.5) ** 2, "pre_tanh": 0}
    for output, penalty in expected.items():
        assert JacobianClamping(eta=0.5, output=output).penalty(noise, pre_tanh).item() == pytest.approx(penalty)


def test_penalty_widens_narrow_samplers_only() -> None:
    """The gradient increases a scale below sqrt(η), and is zero for a larger one."""
    for scale, sign in ((0.1, -1), (1.0, 0)):
        th.manual_seed(0)
        weight = (scale * th.eye(2)).requires_grad_()
        clamping = JacobianClamping(eta=0.1, output="pre_tanh")
        clamping.penalty(*perturbed(clamping, weight, 50)).backward()
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
    clamping = JacobianClamping(nu=nu, max_weight=1e5)
    assert clamping.weight(th.tensor(float(iteration))).item() == pytest.approx(weight, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": -0.1}, "`eta` must be >= 0, got -0.1"),
        ({"xi": 0.0}, r"`xi` must be positive, got 0\.0"),
        ({"max_weight": 0}, "`max_weight` must be positive, got 0"),
        ({"output": "relu"}, "`output` must be one of 'tanh', 'pre_tanh', got 'relu'"),
        ({"n_perturbations": 0}, "`n_perturbations` must be >= 1, got 0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JacobianClamping(**settings)
