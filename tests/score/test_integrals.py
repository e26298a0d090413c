"""Normalization of energies and scores that are known in closed form."""

import math

import pytest
import torch as th

from ardae_rl.common.gaussians import standard_normal_log_density
from ardae_rl.score.integrals import IMMSE_NOISE_RANGE, immse_log_prob, importance_log_partition

MEANS = th.tensor([[1.2, 0.0], [-1.2, 0.0]])
LOG_WEIGHTS = th.tensor([0.3, 0.7]).log()
DEVIATION = 0.4


def mixture_log_prob(y: th.Tensor, sigma: th.Tensor | float) -> th.Tensor:
    """ln p_σ of two separated Gaussians of unequal weight."""
    variance = th.as_tensor(DEVIATION**2 + sigma**2)
    distance = (y.unsqueeze(-2) - MEANS).square().sum(-1)
    return (LOG_WEIGHTS - 0.5 * distance / variance - th.log(2 * math.pi * variance)).logsumexp(-1)


def mixture_score(y: th.Tensor, sigma: th.Tensor) -> th.Tensor:
    y = y.detach().requires_grad_()
    return th.autograd.grad(mixture_log_prob(y, sigma).sum(), y)[0]


def mixture_samples(n: int) -> th.Tensor:
    modes = th.multinomial(LOG_WEIGHTS.exp(), n, replacement=True)
    return (MEANS[modes] + DEVIATION * th.randn(n, 2)).unsqueeze(0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_importance_is_exact_with_the_matching_proposal(scale: float) -> None:
    """All weights are equal, so that ln Z is exact for any draws, and the effective sample size is their number."""
    th.manual_seed(0)

    def log_density(z: th.Tensor) -> th.Tensor:
        return -0.5 * z.square().sum(-1) / scale**2 + 7

    log_z, effective_size = importance_log_partition(log_density, (3, 20, 4), scale, th.zeros((), dtype=th.float64))
    truth = 2 * math.log(2 * math.pi) + 4 * math.log(scale) + 7
    th.testing.assert_close(log_z, th.full((3,), truth, dtype=th.float64))
    th.testing.assert_close(effective_size, th.full((3,), 20.0, dtype=th.float64))


def test_importance_with_another_proposal() -> None:
    """With a wide proposal of two modes, many draws come close, and the effective sample size is smaller."""
    th.manual_seed(0)
    log_z, effective_size = importance_log_partition(
        lambda z: mixture_log_prob(z, 0.0) - 3, (5, 20_000, 2), 1.5, th.zeros(())
    )
    assert (log_z + 3).abs().max() < 0.05
    assert ((effective_size > 0.05 * 20_000) & (effective_size < 0.9 * 20_000)).all()


def test_effective_size_when_one_draw_dominates() -> None:
    th.manual_seed(0)
    _, effective_size = importance_log_partition(lambda z: -1e6 * z.square().sum(-1), (50, 30, 2), 1.0, th.zeros(()))
    assert (effective_size >= 0.999).all()
    assert effective_size.median() < 1.01


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.0])
def test_immse_of_a_gaussian(deviation: float) -> None:
    th.manual_seed(0)
    z = deviation * th.randn(1, 500, 3)
    estimate = immse_log_prob(lambda y, s: -y / (deviation**2 + s.square()), z, n_levels=48, n_noise_samples=8)
    error = estimate - th.distributions.Normal(0.0, deviation).log_prob(z).sum(-1)
    # With the score of the reference itself, both errors cancel exactly
    assert error.abs().max() < (1e-4 if deviation == 1 else 1.0)
    assert error.mean().abs() < 0.02
    assert error.abs().mean() < 0.15


@pytest.mark.parametrize("n_levels", [2, 3, 9])
def test_immse_is_a_trapezoidal_sum(monkeypatch: pytest.MonkeyPatch, n_levels: int) -> None:
    """It is exact where the difference of the squared errors is linear in ln σ: here, it is ln σ - ln σ_min."""
    monkeypatch.setattr("ardae_rl.score.integrals.normal_like", th.ones_like)
    low, high = map(math.log, IMMSE_NOISE_RANGE)

    def score(y: th.Tensor, sigma: th.Tensor) -> th.Tensor:
        u = y / sigma  # at z = 0; each of its elements is 1 or -1
        error = (sigma.log() - low).clamp_min(0) + 1 / (1 + sigma**2) ** 2
        return u * (error.sqrt() - 1) / sigma

    log_prob = immse_log_prob(score, th.zeros(1, 4, 2, dtype=th.float64), n_levels, n_noise_samples=2)
    expected = -math.log(2 * math.pi) - (high - low) ** 2  # two dimensions, each with the integral ½ (high - low)²
    th.testing.assert_close(log_prob, th.full((1, 4), expected, dtype=th.float64), rtol=1e-6, atol=1e-6)


def test_immse_of_two_modes() -> None:
    th.manual_seed(0)
    z = mixture_samples(500)
    error = immse_log_prob(mixture_score, z, n_levels=32, n_noise_samples=8) - mixture_log_prob(z, 0.0)
    assert error.mean().abs() < 0.05
    assert error.abs().mean() < 0.25
    gaussian = standard_normal_log_density(z) - mixture_log_prob(z, 0.0)
    assert gaussian.abs().mean() > 1, "the reference itself is far from the truth"


def test_immse_with_a_wrong_score_underestimates() -> None:
    """A denoising error is smallest with the true score, so the mean log-density can only be too low."""
    th.manual_seed(0)
    z = mixture_samples(500)
    truth = immse_log_prob(mixture_score, z, n_levels=24, n_noise_samples=4).mean()
    for wrong in (lambda y, s: 1.2 * mixture_score(y, s), lambda y, s: mixture_score(y, s) + 0.3 / (1 + s.square())):
        assert immse_log_prob(wrong, z, n_levels=24, n_noise_samples=4).mean() < truth - 0.02
