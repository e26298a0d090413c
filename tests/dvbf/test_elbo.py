"""The evidence lower bound of models whose likelihood is known exactly."""

import math
from collections.abc import Callable

import pytest
import torch as th
from torch import nn

from ardae_rl.common.gaussians import standard_normal_log_density
from ardae_rl.dvbf.elbo import ELBOTerms, PosteriorSample, StateSpaceModel, elbo
from ardae_rl.dvbf.linear_gaussian import LinearGaussianSSM
from ardae_rl.dvbf.posteriors import (
    InitialStatePosterior,
    NoisePosterior,
    SequenceEncoder,
    StepPosterior,
    TrajectoryIAFPosterior,
)
from tests.dvbf.systems import data, system

D, LENGTH = 2, 4
POSTERIORS: dict[str, Callable[[], nn.Module]] = {
    "trajectory": lambda: TrajectoryIAFPosterior(_encoder(), D),
    "step": lambda: StepPosterior(_encoder(), D),
    "step, filtering": lambda: StepPosterior(_encoder(smoothing=False), D),
    "step with flows": lambda: StepPosterior(_encoder(), D, n_flows=2),
    "noise": lambda: NoisePosterior(_encoder(), D),
    "initial state": lambda: InitialStatePosterior(_encoder(), D),
}


def _encoder(smoothing: bool = True) -> SequenceEncoder:
    return SequenceEncoder(2, 1, hidden=32, smoothing=smoothing)


class ExactSmoother(TrajectoryIAFPosterior):
    """Transforms all noise at once by an affine flow, the Cholesky factor of the true posterior."""

    def __init__(self, ssm: LinearGaussianSSM) -> None:
        super().__init__(_encoder(), len(ssm.a))
        self.ssm = ssm

    def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
        joint = self.ssm.joint_posterior(x, u)
        factor = joint.scale_tril
        noise = th.randn_like(joint.mean)
        z = (joint.mean + (factor @ noise.unsqueeze(-1)).squeeze(-1)).view(*x.shape[:2], self.z_dim)
        log_determinant = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return PosteriorSample(z, model.log_prior(z, u), standard_normal_log_density(noise) - log_determinant)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 1), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_exact_posterior_has_the_likelihood_as_its_bound(sizes: tuple[int, int, int], seed: int) -> None:
    """The bound is exact for every sample."""
    ssm = system(*sizes, seed=seed)
    x, u = data(ssm, 20)
    for draw in range(3):
        th.manual_seed(draw)
        terms, _ = elbo(ssm, ExactSmoother(ssm), x, u)
        th.testing.assert_close(terms.elbo, ssm.log_likelihood(x, u), rtol=0, atol=1e-6)


def trained(
    name: str, n_steps: int, ssm: LinearGaussianSSM, x: th.Tensor, u: th.Tensor, at_a_time: int = 16
) -> nn.Module:
    """Train a posterior.

    At intervals, check that bound and divergence respect their limits within three standard errors.
    """
    th.manual_seed(0)
    posterior = POSTERIORS[name]().double()
    optimizer = th.optim.Adam(posterior.parameters(), lr=5e-3)
    schedule = th.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps, 1e-4)
    many_x, many_u = x.repeat(at_a_time, 1, 1), u.repeat(at_a_time, 1, 1)
    for step in range(n_steps):
        terms, _ = elbo(ssm, posterior, many_x, many_u)
        if step % 50 == 0:
            check_bound(ssm, posterior, x, u, n=500)
        optimizer.zero_grad()
        (-terms.elbo.mean()).backward()
        nn.utils.clip_grad_norm_(posterior.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    return posterior


@th.no_grad()
def check_bound(ssm: LinearGaussianSSM, posterior: nn.Module, x: th.Tensor, u: th.Tensor, n: int) -> float:
    """Return the mean over sequences of the likelihood minus the bound."""
    terms, _ = elbo(ssm, posterior, x.repeat(n, 1, 1), u.repeat(n, 1, 1))
    values, divergences = terms.elbo.view(n, -1), terms.kl.view(n, -1)
    likelihood = ssm.log_likelihood(x, u)
    error = values.std(0) / math.sqrt(n)
    assert bool((values.mean(0) <= likelihood + 3 * error).all())
    assert bool((divergences.mean(0) >= -3 * divergences.std(0) / math.sqrt(n)).all())
    return float((likelihood - values.mean(0)).mean())


@pytest.mark.parametrize("name", [name for name in POSTERIORS if name != "initial state"])
def test_bounds_hold_while_training(name: str) -> None:
    ssm = system(seed=3)
    x, u = data(ssm, LENGTH, batch=4)
    before = check_bound(ssm, POSTERIORS[name]().double(), x, u, n=500)
    after = check_bound(ssm, trained(name, 200, ssm, x, u), x, u, n=2000)
    assert after < 0.5 * before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gap"), [("trajectory", 0.1), ("step", 0.1), ("step with flows", 0.1), ("noise", 0.1)]
)
def test_gap_after_training(name: str, gap: float) -> None:
    """The gap is small for families that contain the true posterior, or a close one."""
    ssm = system(seed=3)
    x, u = data(ssm, LENGTH, batch=4)
    assert check_bound(ssm, trained(name, 2000, ssm, x, u, at_a_time=64), x, u, n=5000) < gap


def test_a_posterior_of_the_past_alone_leaves_a_gap() -> None:
    """The factors p(z_t | z_{t-1}, x_t) lack the future.

    Their bound is below the likelihood by the information that it would add.
    """
    ssm = system(seed=3)
    x, u = data(ssm, 20, batch=4)

    class Filter(nn.Module):
        def forward(self, model: StateSpaceModel, x: th.Tensor, u: th.Tensor) -> PosteriorSample:
            states: list[th.Tensor] = []
            log_q = x.new_zeros(len(x))
            for t in range(x.shape[1]):
                mean = ssm.m0.expand(len(x), -1) if t == 0 else states[-1] @ ssm.a.mT + u[:, t - 1] @ ssm.b.mT
                prior = th.linalg.inv(ssm.p0 if t == 0 else ssm.q)
                precision = prior + ssm.c.mT @ th.linalg.inv(ssm.r) @ ssm.c
                covariance = th.linalg.inv(precision)
                mean = (mean @ prior + x[:, t] @ th.linalg.inv(ssm.r) @ ssm.c) @ covariance
                q = th.distributions.MultivariateNormal(mean, covariance)
                states.append(q.sample())
                log_q = log_q + q.log_prob(states[-1])
            z = th.stack(states, 1)
            return PosteriorSample(z, model.log_prior(z, u), log_q)

    th.manual_seed(0)
    assert check_bound(ssm, Filter(), x, u, n=1000) > 1


def test_marginals_in_place_of_the_joint_density_are_no_bound() -> None:
    """The objective of the published code is no bound.

    It sums ln q_t(z_t) over the steps, for one draw that determines all states. Trained with it, it exceeds the
    likelihood, and its "divergence" is negative, by the total correlation of the path: the less noise the model has, as
    after learning, the more.
    """
    noisy = system(seed=3)
    q = 0.02 * th.eye(D, dtype=th.float64)
    ssm = LinearGaussianSSM(noisy.a, noisy.b, noisy.c, q, noisy.r, noisy.m0, noisy.p0)
    x, u = data(ssm, 20, batch=1)
    smoothed = ssm.rts_smoother(x, u)
    mean = smoothed.mean[0].clone().requires_grad_()
    maps = th.linalg.cholesky(smoothed.covariance).clone().requires_grad_()  # of the one noise to each state
    optimizer = th.optim.Adam([mean, maps], lr=0.02)
    th.manual_seed(0)

    def wrong_terms(n: int) -> ELBOTerms:
        noise = th.randn(n, D, dtype=x.dtype)
        z = mean + th.einsum("tij,nj->nti", maps, noise)
        log_marginals = standard_normal_log_density(noise).unsqueeze(-1) - th.linalg.slogdet(maps)[1]
        return ELBOTerms(ssm.log_emission(z, x), ssm.log_prior(z, u.expand(n, -1, -1)), log_marginals.sum(-1))

    for _ in range(400):
        optimizer.zero_grad()
        (-wrong_terms(64).elbo.mean()).backward()
        optimizer.step()
    with th.no_grad():
        wrong = wrong_terms(5000)
    error = float(wrong.elbo.std()) / math.sqrt(5000)
    assert float(wrong.elbo.mean()) > float(ssm.log_likelihood(x, u)) + 10 * error
    assert float(wrong.kl.mean()) < -10 * error


def test_initial_state_is_the_model_without_noise() -> None:
    """Its bound is below the likelihood of the system with Q = 0, which is known exactly, too."""
    ssm = system(seed=3)
    silent = LinearGaussianSSM(ssm.a, ssm.b, ssm.c, 1e-9 * th.eye(D, dtype=th.float64), ssm.r, ssm.m0, ssm.p0)
    x, u = data(silent, LENGTH, batch=4)
    th.manual_seed(0)
    posterior = InitialStatePosterior(_encoder(), D).double()
    n = 2000
    with th.no_grad():
        terms, z = elbo(silent, posterior, x.repeat(n, 1, 1), u.repeat(n, 1, 1))
    values = terms.elbo.view(n, -1)
    assert bool((values.mean(0) <= silent.log_likelihood(x, u) + 3 * values.std(0) / math.sqrt(n)).all())
    expected = z[:, 0] @ ssm.a.mT + u.repeat(n, 1, 1)[:, 0] @ ssm.b.mT
    th.testing.assert_close(z[:, 1], expected)


def test_filtering_encoders_do_not_look_ahead() -> None:
    x, u = th.randn(2, 6, 2), th.randn(2, 5, 1)
    changed, later = x.clone(), u.clone()
    changed[:, 4:], later[:, 3:] = 0, 0
    for smoothing in (False, True):
        encoder = _encoder(smoothing)
        same = th.isclose(encoder(x, u), encoder(changed, later))[:, :4].all()
        assert bool(same) is not smoothing
    # A control is known from the next step on
    other = u.clone()
    other[:, 2] += 1
    differs = ~th.isclose(_encoder_of(0)(x, u), _encoder_of(0)(x, other)).all(-1).all(0)
    assert differs.tolist() == [False] * 3 + [True] * 3


def _encoder_of(seed: int) -> SequenceEncoder:
    th.manual_seed(seed)
    return _encoder(smoothing=False)
