"""Losses against constants worked out by hand, and against known minimizers."""

import itertools
import math

import pytest
import torch as th

from ardae_rl.score import (
    ardae_loss,
    contrastive_loss,
    cv_loss,
    entropy_surrogate,
    mixture_score,
    noise_level_loss,
    own_noise_loss,
)


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


MEANS, WEIGHTS, SPREAD, NOISE = th.tensor([[-1.0, 0.5], [1.5, -0.5]]), th.tensor([0.3, 0.7]), 0.4, 0.5


def groups_of_a_mixture(n_groups: int, n: int) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
    """Samples of two Gaussian modes, the samples with noise, and the exact score of the latter, (groups, n, 2) each."""
    th.manual_seed(0)
    modes = th.multinomial(WEIGHTS, n_groups * n, replacement=True).view(n_groups, n)
    means = MEANS[modes] + SPREAD * th.randn(n_groups, n, 2)
    points = means + NOISE * th.randn_like(means)
    variance = SPREAD**2 + NOISE**2
    residuals = MEANS - points.unsqueeze(-2)  # groups x n x modes x 2
    responsibilities = (WEIGHTS.log() - 0.5 * residuals.square().sum(-1) / variance).softmax(-1)
    return means, points, (responsibilities.unsqueeze(-1) * residuals).sum(-2) / variance


@pytest.mark.parametrize("n", [1, 2, 16])
def test_mixture_score_is_unbiased_given_the_point(n: int) -> None:
    """For any number of means, E[t | x] is the score: the error has no correlation with any function of x.

    Within three and a half standard errors, the largest of ten correlations, over 400,000 points.
    """
    means, points, exact = groups_of_a_mixture(400_000 // n, n)
    target = mixture_score(points, means, th.tensor(NOISE))
    error = target - exact
    features = [th.ones_like(points), points, points.flip(-1), points.square(), th.sin(3 * points)]
    for feature in features:
        products = (error * feature).mean(1)  # groups are independent, the points of one are not
        assert (products.mean(0).abs() < 3.5 * products.std(0) / math.sqrt(len(products))).all()


def test_more_means_leave_less_variance() -> None:
    variances = []
    for n in (1, 2, 4, 16, 64):
        means, points, exact = groups_of_a_mixture(64_000 // n, n)
        variances.append(float((mixture_score(points, means, th.tensor(NOISE)) - exact).square().mean()))
    assert all(after < 0.8 * before for before, after in itertools.pairwise(variances))


@pytest.mark.parametrize("n", [1, 2, 16])
def test_mixture_score_must_not_be_plugged_into_the_sampler(n: int) -> None:
    """Its product with the sampler's noise is biased, because it depends on that noise beyond the point.

    For x = scale ε + σu, the entropy's gradient in the scale is scale / (scale² + σ²), here 0.8. One mean gives
    E[u·ε] / σ = 0 instead, and more means are still below. A function of the point alone has no such bias.
    """
    th.manual_seed(0)
    noise = th.randn(400_000 // n, n, 1)
    points = noise + NOISE * th.randn_like(noise)

    def gradient(score: th.Tensor) -> tuple[float, float]:
        products = -(score * noise).mean((1, 2))
        return float(products.mean()), float(products.std()) / math.sqrt(len(products))

    exact, error = gradient(-points / (1 + NOISE**2))
    assert exact == pytest.approx(0.8, abs=3 * error)
    plugged_in, error = gradient(mixture_score(points, noise, th.tensor(NOISE)))
    assert plugged_in < 0.8 - 10 * error
    if n == 1:
        assert plugged_in == pytest.approx(0, abs=3 * error)


def test_own_noise_loss_by_hand() -> None:
    """Two means at -1 and 1 and a point at each, noise 1: the weights are logistic in 2 mean · point."""
    means = th.tensor([[[-1.0], [1.0]]])
    score, sigma = th.tensor([[[0.5], [0.0]]]), th.tensor(1.0)
    expectation = math.tanh(1.0)  # of the mean given the point 1
    targets = [-expectation + 1, expectation - 1]
    expected = 0.5 * ((0.5 - targets[0]) ** 2 + targets[1] ** 2) / 2
    assert float(own_noise_loss(score, means, means, sigma)) == pytest.approx(expected, rel=1e-6)
