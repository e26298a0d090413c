"""Bounds of the entropy: closed forms of Gaussians and mixtures, and that no policy's entropy leaves them."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from ardae_rl.sac_ardae.bounds import EntropyCheck, extrapolated_log_density, gaussian_entropy, mixture_log_densities
from tests.sac_ardae.small import make


def test_gaussian_entropy() -> None:
    scale = 1.7
    exact = th.distributions.MultivariateNormal(th.zeros(3), scale**2 * th.eye(3)).entropy()
    assert gaussian_entropy(3, scale**2) == pytest.approx(float(exact), rel=1e-6)


def test_mixtures_by_hand() -> None:
    means = th.tensor([[[0.0], [1.0]]])
    points = th.tensor([[[0.5], [2.0]]])
    with_own, without_own = mixture_log_densities(means, points, 2.0)
    component = th.distributions.Normal(means[0, :, 0], 2.0).log_prob(points[0])  # points x means
    th.testing.assert_close(with_own[0], component.logsumexp(1) - math.log(2))
    th.testing.assert_close(without_own[0], th.stack([component[0, 1], component[1, 0]]))


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_mixtures_bound_the_log_density(dim: int) -> None:
    """For a standard normal distribution plus noise, in expectation over many draws of 16 components."""
    th.manual_seed(0)
    means = th.randn(20_000, 16, dim)
    points = means + 0.5 * th.randn_like(means)
    exact = -gaussian_entropy(dim, 1.25)
    with_own, without_own = (x.mean(1) for x in mixture_log_densities(means, points, 0.5))
    for bound, sign in ((with_own, 1), (without_own, -1)):
        assert sign * (bound.mean() - exact) > 3 * bound.std() / math.sqrt(len(bound))


def test_extrapolation_is_closer_than_the_middle() -> None:
    """For a normal distribution in six dimensions, by half of the error and more than three standard errors."""
    th.manual_seed(0)
    means = th.randn(100, 1024, 6)
    points = means[:, :64] + 0.3 * th.randn(100, 64, 6)
    exact = th.distributions.Normal(0.0, math.sqrt(1.09)).log_prob(points).sum(-1)
    estimate, gap = extrapolated_log_density(means, points, 0.3)
    with_own, without_own = mixture_log_densities(means, points, 0.3)
    th.testing.assert_close(gap, with_own - without_own)
    middle, extrapolated = (x - exact for x in (0.5 * (with_own + without_own), estimate))
    assert abs(extrapolated.mean()) < 0.5 * abs(middle.mean())
    difference = extrapolated - middle
    assert difference.mean() > 3 * difference.std() / math.sqrt(difference.numel())


@pytest.mark.parametrize("output_noise", [0.0, 0.3])
def test_bounds_of_a_policy(output_noise: float) -> None:
    """In one dimension, where the density is known by integration over a grid."""
    model = make(policy_kwargs={"output_noise": output_noise, "generator_arch": [16]})
    nn.init.normal_(model.actor.noise_layer.weight, std=0.6)  # not Gaussian
    th.manual_seed(0)
    obs = th.randn(4, 3)
    n_samples = 2000
    bounds = model.policy.entropy_bounds(obs, n_samples)
    actions = th.as_tensor(model.predict(obs.repeat_interleave(200_000, 0).numpy())[0]).view(4, -1).double().numpy()
    entropy = []
    for row in actions:
        counts, edges = np.histogram(row, 400)
        shares = counts[counts > 0] / len(row)
        entropy.append(float(-(shares * np.log(shares)).sum() + math.log(edges[1] - edges[0])))
    exact = th.tensor(entropy)
    # Three standard errors of the mean slope of tanh, which the bounds take over their own samples
    squashed = actions / float(model.actor.action_space.high[0])
    margin = 3 * th.as_tensor(np.log1p(1e-9 - squashed**2).std(1)) / math.sqrt(n_samples)
    assert (bounds.gaussian > exact - margin).all() and (bounds.gaussian < exact + 0.1).all()
    if output_noise == 0:
        assert (bounds.lower == -math.inf).all() and th.equal(bounds.upper, bounds.gaussian)
    else:
        # With 2000 components in one dimension, both mixtures are tight
        th.testing.assert_close(bounds.lower, exact, rtol=0, atol=0.06)
        th.testing.assert_close(bounds.upper, exact, rtol=0, atol=0.06)
        assert (bounds.lower < bounds.upper).all()


def test_bad_number_of_samples() -> None:
    with pytest.raises(ValueError, match="`n_samples` must be >= 2, got 1"):
        make().policy.entropy_bounds(th.zeros(1, 3), n_samples=1)


def test_check_warns_once() -> None:
    check = EntropyCheck(horizon=10, tolerance=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check.update(0.05, 10)  # within the tolerance
        check.update(1.0, 9)  # not enough steps yet
    with pytest.warns(UserWarning, match=r"1\.00 nats above"):
        check.update(1.0, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check.update(1.0, 10)


def test_check_averages_each_horizon_anew() -> None:
    check = EntropyCheck(horizon=10, tolerance=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check.update(0.0, 1000)
        check.update(0.2, 9)  # not enough steps of the second horizon yet
    with pytest.warns(UserWarning, match=r"0\.20 nats above"):
        check.update(0.2, 1)


def test_bound_is_logged_above_the_entropy() -> None:
    model = make(score_warmup=50).learn(40)
    values = model.logger.name_to_value
    assert values["train/entropy_bound"] > values["train/entropy"] - 0.5


def test_logged_bound_is_that_of_the_states() -> None:
    """The metric is the mean of the Gaussian bounds, up to the noise of one action in each state."""
    model = make(policy_kwargs={"generator_arch": [16]})
    obs = th.randn(4000, 3)
    metrics = model.entropy_bound(obs)
    # Pendulum's actions lie in [-2, 2], the metric's in [-1, 1]
    expected = model.policy.entropy_bounds(obs, n_samples=16).gaussian.mean() - math.log(2)
    th.testing.assert_close(metrics["entropy_bound"], expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_logged_bound_is_tight_for_its_moments(scale: float) -> None:
    """The bound is by the accurate moments: the frame's short expansion misses some of ln det of a nonlinear policy."""
    model = make(policy_kwargs={"generator_arch": [16]})
    with th.no_grad():
        model.actor.noise_layer.weight.mul_(scale)
        embedding = model.actor.encode(th.randn(16, 3))
        pre_tanh = model.actor.sample(embedding, 20_000)
        exact = 0.5 * (2 * math.pi * math.e * pre_tanh.var(1)).log()
        # Three standard errors of ln of a sample variance, at most a normal distribution's
        margin = 3 * math.sqrt(0.5 / 20_000) + 0.01
        th.testing.assert_close(model.policy._gaussian_entropy(embedding), exact, rtol=0, atol=margin)


def test_no_bound_without_an_entropy() -> None:
    assert make(policy_kwargs={"entropy": "distance"}).entropy_bound(th.zeros(1, 3)) == {}
    assert make(policy_kwargs={"generator_arch": [8, 8]}).entropy_bound(th.zeros(1, 3)) == {}


def test_gaussian_bound_of_a_narrow_policy() -> None:
    """It is that of the policy's own covariance, whose standard deviations differ by a factor of a thousand here."""
    model = make("ardae_envs:ardae/MultiGoal-v0")
    generator: Any = model.actor.generator
    last = generator[-1]
    with th.no_grad():
        last.weight[1] *= 1e-3
    observations, _ = model.policy.obs_to_tensor(np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32))
    covariance = model.policy.moments(observations).covariance
    scales = th.linalg.eigvalsh(covariance).sqrt()
    assert bool((scales[:, 0] < 0.01 * scales[:, 1]).all())
    exact = th.distributions.MultivariateNormal(th.zeros(4, 2), covariance).entropy()
    estimated = model.policy._gaussian_entropy(model.actor.embed(observations)).squeeze(1)
    th.testing.assert_close(estimated.detach(), exact, atol=1e-3, rtol=0)
