"""The Kalman filter and the smoother against the joint Gaussian of all states and observations."""

import pytest
import torch as th
from torch.distributions import MultivariateNormal

from ardae_rl.dvbf.linear_gaussian import LinearGaussianSSM
from tests.dvbf.systems import data, system

SIZES = [(1, 1, 1), (2, 2, 1), (3, 2, 2), (2, 4, 1)]


def joint(ssm: LinearGaussianSSM, u: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return mean and covariance of (z_0, ..., z_T, x_0, ..., x_T), for one sequence of controls."""
    length, d, o = len(u), len(ssm.a), len(ssm.c)
    n = (length + 1) * (d + o)
    mean, factor = th.zeros(n, dtype=u.dtype), th.zeros(n, n, dtype=u.dtype)
    state_mean, state_factor = ssm.m0, th.zeros(d, n, dtype=u.dtype)
    state_factor[:, :d] = th.linalg.cholesky(ssm.p0)
    for t in range(length + 1):
        if t:
            state_mean, state_factor = ssm.a @ state_mean + ssm.b @ u[t - 1], ssm.a @ state_factor
            state_factor[:, t * d : (t + 1) * d] += th.linalg.cholesky(ssm.q)
        rows = slice((length + 1) * d + t * o, (length + 1) * d + (t + 1) * o)
        mean[t * d : (t + 1) * d], factor[t * d : (t + 1) * d] = state_mean, state_factor
        mean[rows], factor[rows] = ssm.c @ state_mean, ssm.c @ state_factor
        factor[rows, rows] += th.linalg.cholesky(ssm.r)
    return mean, factor @ factor.mT


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("length", [0, 1, 6])
def test_likelihood_and_posteriors(sizes: tuple[int, int, int], length: int) -> None:
    ssm = system(*sizes, seed=sum(sizes))
    x, u = data(ssm, length)
    d, n = sizes[0], (length + 1) * sizes[0]
    likelihood, smoothed, filtered = ssm.log_likelihood(x, u), ssm.rts_smoother(x, u), ssm.kalman_filter(x, u)
    posterior = ssm.joint_posterior(x, u)
    for i in range(len(x)):
        mean, covariance = joint(ssm, u[i])
        seen = x[i].flatten()
        expected = MultivariateNormal(mean[n:], covariance[n:, n:]).log_prob(seen)
        th.testing.assert_close(likelihood[i], expected, rtol=1e-9, atol=1e-9)
        gain = th.linalg.solve(covariance[n:, n:], covariance[n:, :n]).mT
        mean_given, covariance_given = (
            mean[:n] + gain @ (seen - mean[n:]),
            covariance[:n, :n] - gain @ covariance[n:, :n],
        )
        th.testing.assert_close(posterior.mean[i], mean_given, rtol=1e-8, atol=1e-8)
        th.testing.assert_close(posterior.covariance_matrix[i], covariance_given, rtol=1e-8, atol=1e-8)
        th.testing.assert_close(smoothed.mean[i].flatten(), mean_given, rtol=1e-8, atol=1e-8)
        blocks = covariance_given.view(length + 1, d, length + 1, d)
        diagonal = th.stack([blocks[t, :, t] for t in range(length + 1)])
        th.testing.assert_close(smoothed.covariance, diagonal, rtol=1e-8, atol=1e-8)
        # The last filtered state knows all there is
        th.testing.assert_close(filtered.mean[i, -1], smoothed.mean[i, -1])
    th.testing.assert_close(filtered.covariance[-1], smoothed.covariance[-1])


def test_filter_does_not_look_ahead() -> None:
    ssm = system()
    x, u = data(ssm, 6)
    shorter = ssm.kalman_filter(x[:, :4], u[:, :3])
    th.testing.assert_close(ssm.kalman_filter(x, u).mean[:, :4], shorter.mean)


def test_evidence_by_bayes() -> None:
    """ln p(x) = ln p(z) + ln p(x|z) - ln p(z|x) for any z."""
    ssm = system(3, 2, 2)
    x, u = data(ssm, 5)
    posterior = ssm.joint_posterior(x, u)
    for seed in range(3):
        z = posterior.mean + th.randn(posterior.mean.shape, generator=th.Generator().manual_seed(seed), dtype=x.dtype)
        states = z.view(len(x), 6, 3)
        evidence = ssm.log_prior(states, u) + ssm.log_emission(states, x) - posterior.log_prob(z)
        th.testing.assert_close(evidence, ssm.log_likelihood(x, u), rtol=1e-9, atol=1e-9)


def test_samples() -> None:
    """Moments of the last observation, by simulation (four standard errors)."""
    ssm = system()
    u = th.randn(1, 4, 1, generator=th.Generator().manual_seed(0), dtype=th.float64)
    _, x = ssm.sample(u.expand(20_000, -1, -1), th.Generator().manual_seed(1))
    mean, covariance = joint(ssm, u[0])
    last = x[:, -1]
    error = 4 * last.std(0) / 20_000**0.5
    assert bool(((last.mean(0) - mean[-2:]).abs() < error).all())
    th.testing.assert_close(last.T.cov(), covariance[-2:, -2:], rtol=0.05, atol=0.05)


def test_bad_shapes() -> None:
    good = system()
    with pytest.raises(ValueError, match=r"`c` must have shape \(2, 2\), got \(2, 3\)"):
        LinearGaussianSSM(good.a, good.b, th.zeros(2, 3), good.q, good.r, good.m0, good.p0)
