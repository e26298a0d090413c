"""Losses against constants worked out by hand, and against known minimizers."""

import math

import pytest
import torch as th

from ardae_rl.score import ardae_loss, contrastive_loss, cv_loss, entropy_surrogate, noise_level_loss


def test_constants() -> None:
    u, sigma = th.tensor([[1.0, -2.0], [0.0, 1.0]]), th.tensor([[0.5], [-2.0]])
    noisy, clean = th.tensor([[2.0, 0.0], [1.0, 1.0]]), th.tensor([[1.0, 1.0], [3.0, 0.0]])
    # Rows u + sigma f: (2, -2) and (-2, -1)
    assert ardae_loss(noisy, u, sigma).item() == (8 + 5) / 2
    # Rows: 2 + (1 * 1 + -2 * -1) / 0.5 = 8 and 1 + (1 * 1) / -2 = 0.5
    assert cv_loss(noisy, clean, u, sigma).item() == (8 + 0.5) / 2
    # |u|² - 2 = 3 and -1, against 1 and 1, over 2 * 2 * dim
    assert noise_level_loss(th.ones(2), u).item() == (4 + 4) / 2 / 8
    assert contrastive_loss(th.zeros(3), th.zeros(5)).item() == pytest.approx(2 * math.log(2))
    assert contrastive_loss(th.tensor([math.log(3)]), th.tensor([0.0])).item() == pytest.approx(math.log(4 / 3 * 2))
    # -(x · f) of the rows: -(1 * 2) and -(-2 * 1 + 3 * 1)
    samples, score = th.tensor([[1.0, 5.0], [-2.0, 3.0]], requires_grad=True), th.tensor([[2.0, 0.0], [1.0, 1.0]])
    surrogate = entropy_surrogate(samples, score.requires_grad_())
    assert surrogate.item() == (-2 - 1) / 2
    surrogate.backward()
    assert samples.grad is not None and th.equal(samples.grad, -score / 2)
    assert score.grad is None, "the score is a constant of the surrogate"


def linear_gaussian_batch() -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    """x ~ N(0, C) with C = diag(2, 0.5) and u ~ N(0, I), whitened together so that their sample moments are exact."""
    noise = th.randn(4000, 4, generator=th.Generator().manual_seed(0), dtype=th.float64)
    noise = noise - noise.mean(0)
    noise = noise @ th.linalg.inv(th.linalg.cholesky(noise.t() @ noise / len(noise))).t()
    variance = th.tensor([2.0, 0.5], dtype=th.float64)
    return noise[:, :2] * variance.sqrt(), noise[:, 2:], variance, th.full((4000, 1), 0.7, dtype=th.float64)


@pytest.mark.parametrize("loss", ["ardae", "cv"])
def test_minimizer_is_the_score_of_the_noised_gaussian(loss: str) -> None:
    """In the family f(y) = y W, both losses have their minimum at W = -(C + σ² I)^-1."""
    x, u, variance, sigma = linear_gaussian_batch()
    weight = th.zeros(2, 2, dtype=th.float64, requires_grad=True)

    def objective(weight: th.Tensor) -> th.Tensor:
        noisy = (x + sigma * u) @ weight
        return ardae_loss(noisy, u, sigma) if loss == "ardae" else cv_loss(noisy, x @ weight, u, sigma)

    # The objective is quadratic: one Newton step from zero reaches the minimum
    (gradient,) = th.autograd.grad(objective(weight), weight, create_graph=True)
    hessian = th.stack([th.autograd.grad(g, weight, retain_graph=True)[0].flatten() for g in gradient.flatten()])
    minimizer = -th.linalg.solve(hessian, gradient.detach().flatten()).reshape(2, 2)
    assert (th.linalg.eigvalsh(hessian) > 0).all()
    th.testing.assert_close(minimizer, th.diag(-1 / (variance + 0.7**2)), rtol=1e-9, atol=1e-9)


def test_noise_level_derivative_of_a_gaussian_minimizes_its_loss() -> None:
    """E[|u|² - dim | y] of N(0, I) data is the derivative of ln N(y; 0, 1 + σ²) in ln σ."""
    generator = th.Generator().manual_seed(0)
    x, u = (th.randn(200_000, 2, generator=generator) for _ in range(2))
    y, v = x + 0.8 * u, 1 + 0.8**2
    derivative = 0.8**2 / v * (y.square().sum(-1) / v - 2)
    best = noise_level_loss(derivative, u)
    for wrong in (0.9 * derivative, 1.1 * derivative, derivative + 0.1):
        assert noise_level_loss(wrong, u) > best


def test_contrastive_minimizer_is_the_normalized_log_ratio() -> None:
    """For samples of N(0, 0.5²) against N(0, 1), no other constant and no other slope has a smaller loss."""
    generator = th.Generator().manual_seed(0)
    reference = th.randn(200_000, generator=generator)
    samples = 0.5 * th.randn(200_000, generator=generator)

    def log_ratio(x: th.Tensor) -> th.Tensor:
        return -1.5 * x.square() + math.log(2)

    def objective(gain: float = 1, shift: float = 0) -> th.Tensor:
        return contrastive_loss(gain * log_ratio(samples) + shift, gain * log_ratio(reference) + shift)

    best = objective()
    for gain, shift in ((0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1)):
        assert objective(gain, shift) > best
