"""Location and scale are learned accurately and fast."""

import math
import warnings
from itertools import pairwise

import pytest
import torch as th

from ardae_rl.score.averages import RunningAverage
from ardae_rl.score.standardize import ContextNormalizer, FixedStandardizer, LearnedStandardizer

CONTEXT_MEAN = th.tensor([0.0, 100.0, -3.0])
CONTEXT_SCALE = th.tensor([1.0, 10.0, 0.1])
SLOPES = th.tensor([[1.0, -0.5], [0.1, 0.2], [3.0, 0.0]])


def make_batch(n: int = 16, batch: int = 32) -> tuple[th.Tensor, th.Tensor, th.Tensor, th.Tensor]:
    """Return samples, contexts far from standardized, locations that vary by 1 and more, and scales of about 0.02."""
    context = CONTEXT_MEAN + CONTEXT_SCALE * th.randn(batch, 3)
    location = context @ SLOPES + 2
    scale = 0.02 * th.exp(0.7 * th.sin(context[:, :1])) * th.tensor([[1.0, 2.0]])
    samples = location.unsqueeze(1) + scale.unsqueeze(1) * th.randn(batch, n, 2)
    return samples, context, location, scale


def train(standardizer: LearnedStandardizer, n_updates: int) -> None:
    optimizer = th.optim.Adam(standardizer.trainable_parameters(), lr=1e-3)
    for _ in range(n_updates):
        samples, context, _, _ = make_batch()
        standardizer.update(samples, context)
        optimizer.zero_grad()
        standardizer.loss(samples, context).backward()
        optimizer.step()


def test_linear_location_is_found_at_once() -> None:
    """After a few batches, the error is a fraction of the scale, which is far smaller than the location."""
    th.manual_seed(0)
    standardizer = LearnedStandardizer(2, 3)
    train(standardizer, 20)
    _, context, location, scale = make_batch(batch=500)
    estimate, _ = standardizer(context)
    error = (estimate.squeeze(1) - location) / scale
    assert location.std() > 50 * scale.mean()
    assert error.square().mean().sqrt() < 0.2


def test_location_and_scale_after_training() -> None:
    th.manual_seed(0)
    standardizer = LearnedStandardizer(2, 3)
    train(standardizer, 1500)
    _, context, location, scale = make_batch(batch=500)
    estimate, log_scale = standardizer(context)
    assert ((estimate.squeeze(1) - location) / scale).square().mean().sqrt() < 0.15
    ratio = log_scale.squeeze(1) - scale.log()
    assert ratio.square().mean().sqrt() < 0.15
    assert ratio.mean().abs() < 0.05


def test_few_samples_do_not_bias_the_scale() -> None:
    """The mean log of 4 samples' variance is 0.27 below the log of the variance."""
    th.manual_seed(0)
    standardizer = LearnedStandardizer(1, 0)
    optimizer = th.optim.Adam(standardizer.trainable_parameters(), lr=1e-3)
    for _ in range(400):
        samples = 3 * th.randn(16, 4, 1)
        standardizer.update(samples, th.zeros(16, 0))
        optimizer.zero_grad()
        standardizer.loss(samples, th.zeros(16, 0)).backward()
        optimizer.step()
    assert standardizer(th.zeros(1, 0))[1].item() == pytest.approx(math.log(3), abs=0.06)


def test_adapts_to_a_location_that_jumps() -> None:
    """A location that has jumped by 50 scales is found again."""
    th.manual_seed(0)
    standardizer = LearnedStandardizer(1, 0)
    optimizer = th.optim.Adam(standardizer.trainable_parameters(), lr=1e-3)
    for update in range(2500):
        samples = 0.02 * th.randn(1, 64, 1) + (0.0 if update < 500 else 1.0)
        standardizer.update(samples, th.zeros(1, 0))
        optimizer.zero_grad()
        standardizer.loss(samples, th.zeros(1, 0)).backward()
        optimizer.step()
    location, log_scale = standardizer(th.zeros(1, 0))
    assert abs(location.item() - 1) < 0.02
    assert 0.01 < log_scale.exp().item() < 0.04


def test_without_context() -> None:
    """Without a context, location and scale are constants, and there are no warnings."""
    th.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        standardizer = LearnedStandardizer(2, 0)
        optimizer = th.optim.Adam(standardizer.trainable_parameters(), lr=1e-3)
        context, mean, deviation = th.zeros(1, 0), th.tensor([5.0, -1.0]), th.tensor([0.1, 3.0])
        for _ in range(300):
            samples = mean + deviation * th.randn(1, 256, 2)
            standardizer.update(samples, context)
            optimizer.zero_grad()
            standardizer.loss(samples, context).backward()
            optimizer.step()
        location, log_scale = standardizer(context)
    assert location.shape == log_scale.shape == (1, 1, 2)
    assert ((location - mean) / deviation).abs().max() < 0.05
    assert (log_scale - deviation.log()).abs().max() < 0.05


def test_output_has_no_gradient_and_the_slow_copy_is_not_trained() -> None:
    standardizer = LearnedStandardizer(2, 3)
    location, log_scale = standardizer(th.randn(4, 3))
    assert location.shape == log_scale.shape == (4, 1, 2)
    assert not location.requires_grad and not log_scale.requires_grad
    trainable = {id(parameter) for parameter in standardizer.trainable_parameters()}
    assert trainable == {id(parameter) for parameter in standardizer.parameters() if parameter.requires_grad}


def test_location_and_scale_do_not_train_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale is a constant in the loss of the location, and the residual in that of the scale."""
    th.manual_seed(0)
    samples, context, _, _ = make_batch()
    location, log_scale = th.randn(32, 2, requires_grad=True), th.randn(32, 2, requires_grad=True)
    standardizer = LearnedStandardizer(2, 3)
    monkeypatch.setattr(standardizer, "_location_log_scale", lambda *_: (location, log_scale))
    standardizer.loss(samples, context).backward()
    residual, scale = samples - location.detach().unsqueeze(1), log_scale.detach().exp().unsqueeze(1)
    slope = (residual / scale).clamp(-2, 2)  # of Huber's loss
    th.testing.assert_close(location.grad, -(slope / scale).sum(1) / samples.numel())
    error = log_scale.detach() - (0.5 * residual.square().mean(1).log() + 0.5 / samples.shape[1])
    th.testing.assert_close(log_scale.grad, error.clamp(-1, 1) / error.numel())


def test_gradient_stays_bounded_if_the_scale_is_wrong() -> None:
    """With samples a thousand times wider than the scale, a likelihood's gradient would be a million."""
    standardizer = LearnedStandardizer(2, 3)
    th.manual_seed(0)
    loss = standardizer.loss(1000 * th.randn(8, 16, 2), th.randn(8, 3))
    loss.backward()
    norm = th.stack([p.grad.norm() for p in standardizer.trainable_parameters() if p.grad is not None]).norm()
    assert 0 < norm < 1e4


def test_running_average_is_the_mean_first_and_exponential_later() -> None:
    average = RunningAverage(horizon=100)
    weights = [average.next_weight().item() for _ in range(2000)]
    assert weights[0] == 1
    assert weights[1] == pytest.approx(10 / 11)
    assert all(later <= earlier for earlier, later in pairwise(weights))
    assert weights[-1] == pytest.approx(1 / 100)
    assert average.count.is_floating_point()


def test_context_normalizer() -> None:
    th.manual_seed(0)
    normalizer = ContextNormalizer(3)
    for _ in range(200):
        normalizer.update(CONTEXT_MEAN + CONTEXT_SCALE * th.randn(32, 3))
    z = normalizer(CONTEXT_MEAN + CONTEXT_SCALE * th.randn(5000, 3))
    assert z.mean(0).abs().max() < 0.1
    assert (z.std(0) - 1).abs().max() < 0.1
    assert normalizer(th.full((1, 3), 1e9)).abs().max() == 10, "an outlier is bounded"


def test_fixed_standardizer_multiplies() -> None:
    location, log_scale = FixedStandardizer(1e4)(th.zeros(2, 3))
    assert location.item() == 0
    assert th.exp(-log_scale).item() == pytest.approx(1e4)


def test_contexts_that_never_varied() -> None:
    """Later differences have their sign, and are clipped."""
    normalizer = ContextNormalizer(2)
    normalizer.update(th.tensor([[3.0, -1.0]]).expand(8, -1))
    th.testing.assert_close(normalizer(th.tensor([[3.0, -1.0], [4.0, -2.0]])), th.tensor([[0.0, 0.0], [10.0, -10.0]]))
