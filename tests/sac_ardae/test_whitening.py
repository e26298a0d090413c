"""Frames from sigma points: exact for linear samplers, and consistent as changes of variables."""

import math
from collections.abc import Iterator

import pytest
import torch as th

from ardae_rl.sac_ardae.whitening import AffineFrame, sigma_point_moments, sigma_points, whitening_frame


@pytest.fixture
def double_precision() -> Iterator[None]:
    th.manual_seed(0)
    th.set_default_dtype(th.float64)
    yield
    th.set_default_dtype(th.float32)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("n_bases", [1, 3])
@pytest.mark.parametrize("noise_dim", [1, 2, 10])
def test_sigma_points_have_the_moments_of_the_noise(noise_dim: int, n_bases: int) -> None:
    points = sigma_points(noise_dim, n_bases)
    assert points.shape == (2 * noise_dim * n_bases, noise_dim)
    th.testing.assert_close(points.mean(0), th.zeros(noise_dim), rtol=0, atol=1e-12)
    th.testing.assert_close(points.t() @ points / len(points), th.eye(noise_dim), rtol=0, atol=1e-12)
    th.testing.assert_close(points.norm(dim=1), th.full((len(points),), math.sqrt(noise_dim)))


@pytest.mark.usefixtures("double_precision")
def test_exact_for_a_linear_sampler() -> None:
    """Each state has another matrix and mean, with scales from 1e-3 to 10."""
    weight, shift = th.randn(5, 3, 7), th.randn(5, 1, 3)
    weight *= th.logspace(-3, 1, 5)[:, None, None]
    frame = whitening_frame(sigma_point_moments(sigma_points(7) @ weight.mT + shift))
    assert frame.factor is not None
    th.testing.assert_close(frame.origin, shift, rtol=0, atol=1e-12)
    assert th.equal(frame.factor, frame.factor.tril())
    covariance = weight @ weight.mT
    # Up to the jitter that keeps a singular covariance invertible, a ten-thousandth of the mean variance
    jitter = 1e-4 * covariance.diagonal(dim1=1, dim2=2).mean(1) + 1e-8
    expected = covariance + jitter[:, None, None] * th.eye(3)
    th.testing.assert_close(frame.factor @ frame.factor.mT, expected, rtol=1e-10, atol=1e-14)


def test_more_bases_whiten_a_nonlinear_sampler_better() -> None:
    """By the divergence of the local Gaussian from the standard normal, for random networks with six outputs."""
    th.manual_seed(0)
    divergences: dict[int, list[float]] = {1: [], 4: []}
    for _ in range(10):
        first, last = 1.5 * th.randn(10, 64), th.randn(64, 6) / 8
        samples = (th.randn(20_000, 10) @ first / 10**0.5).tanh() @ last
        for n_bases, values in divergences.items():
            outputs = (sigma_points(10, n_bases) @ first / 10**0.5).tanh() @ last
            local = whitening_frame(sigma_point_moments(outputs.unsqueeze(0))).to_local(samples.unsqueeze(0))[0]
            covariance = local.t() @ local / len(local)
            values.append(float(0.5 * (covariance.trace() - 6 - covariance.logdet())))
    means = {n_bases: sum(values) / 10 for n_bases, values in divergences.items()}
    assert means[4] < 0.5 * means[1]


def test_whitens_in_single_precision() -> None:
    th.manual_seed(0)
    weight = th.tensor([[0.02, 0.0], [0.02, 0.05]])
    frame = whitening_frame(sigma_point_moments((sigma_points(2) @ weight.mT + 5).unsqueeze(0)))
    local = frame.to_local((th.randn(100_000, 2) @ weight.mT + 5).unsqueeze(0))[0]
    th.testing.assert_close(local.mean(0), th.zeros(2), rtol=0, atol=0.02)
    th.testing.assert_close(local.t() @ local / len(local), th.eye(2), rtol=0, atol=0.03)


def test_a_collapsed_sampler_has_a_frame() -> None:
    """If all outputs are equal or on a line, the factor stays finite and invertible."""
    for weight in (th.zeros(2, 2), th.tensor([[1.0, 0.0], [1.0, 0.0]])):
        frame = whitening_frame(sigma_point_moments((sigma_points(2) @ weight.mT).unsqueeze(0)))
        log_det = frame.log_det()
        assert isinstance(log_det, th.Tensor) and bool(log_det.isfinite().all())
        assert frame.to_local(th.zeros(1, 1, 2)).isfinite().all()


def test_outputs_that_are_not_finite_give_a_frame_that_is_not_finite() -> None:
    frame = whitening_frame(sigma_point_moments(th.full((3, 4, 2), math.nan)))
    assert isinstance(frame.log_det(), th.Tensor)
    assert not frame.to_local(th.zeros(3, 4, 2)).isfinite().any()


def gaussian_log_prob(x: th.Tensor, mean: th.Tensor, covariance: th.Tensor) -> th.Tensor:
    return th.distributions.MultivariateNormal(mean, covariance).log_prob(x)


@pytest.mark.usefixtures("double_precision")
def test_change_of_variables_of_a_gaussian() -> None:
    """Density and score in a frame, transformed back, are those of x."""
    batch, n, dim = 3, 4, 2
    factor = th.randn(batch, dim, dim).tril(-1) + th.diag_embed(0.1 + th.rand(batch, dim))
    frame = AffineFrame(th.randn(batch, 1, dim), factor)
    mean, root = th.randn(batch, 1, dim), th.randn(batch, 1, dim, dim)
    covariance = root @ root.mT + 0.1 * th.eye(dim)
    x = th.randn(batch, n, dim, requires_grad=True)
    log_prob = gaussian_log_prob(x, mean, covariance)
    (score,) = th.autograd.grad(log_prob.sum(), x)

    local = frame.to_local(x.detach()).requires_grad_()
    th.testing.assert_close(frame.origin + local @ factor.mT, x)
    inverse = th.linalg.inv(factor).unsqueeze(1)
    local_covariance = inverse @ covariance @ inverse.mT
    local_covariance = (local_covariance + local_covariance.mT) / 2  # symmetric to the last digit
    local_log_prob = gaussian_log_prob(local, frame.to_local(mean), local_covariance)
    (local_score,) = th.autograd.grad(local_log_prob.sum(), local)
    th.testing.assert_close(local_log_prob - frame.log_det(), log_prob)
    th.testing.assert_close(frame.score_from_local(local_score), score)
    # The chain rule through the frame, without closed forms
    through = gaussian_log_prob(frame.to_local(x), frame.to_local(mean), local_covariance) - frame.log_det()
    th.testing.assert_close(th.autograd.grad(through.sum(), x)[0], score)


def test_without_a_factor_the_frame_only_shifts() -> None:
    x, origin = th.randn(3, 4, 2), th.randn(3, 1, 2)
    frame = AffineFrame(origin)
    assert th.equal(frame.to_local(x), x - origin)
    assert frame.score_from_local(x) is x
    assert frame.log_det() == 0
    assert th.equal(AffineFrame(th.zeros(1, 1, 1)).to_local(x), x)
