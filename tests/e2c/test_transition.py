"""The joint distribution of a latent and its successor, by simulation against closed forms (three standard errors)."""

import math

import pytest
import torch as th

from ardae_rl.e2c.transition import MATRICES, MIN_DETERMINANT, TRANSITION_SAMPLES, LocallyLinearTransition

N = 50_000
MEAN, LOG_STD = th.tensor([0.7, -1.2], dtype=th.float64), th.tensor([-0.4, 0.3], dtype=th.float64)
U = th.tensor([0.5], dtype=th.float64)


def constant(matrix: str = "full", process_noise: float = 0.0) -> LocallyLinearTransition:
    """Return a transition whose A, B and o are the same everywhere."""
    th.manual_seed(0)
    transition = LocallyLinearTransition(2, 1, matrix=matrix, process_noise=process_noise).double()
    last = transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    th.nn.init.zeros_(last.weight)
    th.nn.init.normal_(last.bias)
    return transition


def check(estimate: th.Tensor, expected: th.Tensor, error: th.Tensor) -> None:
    assert bool(((estimate - expected).abs() <= 3 * error + 1e-12).all()), (estimate, expected, error)


def covariance(a: th.Tensor, b: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
    """Return the sample covariance of draws (n, d), (d, d), and its standard error."""
    products = (a - a.mean(0)).unsqueeze(-1) * (b - b.mean(0)).unsqueeze(-2)
    return products.mean(0), products.std(0) / math.sqrt(len(a))


def draws(kind: str, process_noise: float = 0.0, matrix: str = "full") -> tuple[th.Tensor, ...]:
    """Return samples of z and z', and the A, Σ and mean of z' in closed form."""
    transition = constant(matrix, process_noise)
    th.manual_seed(1)
    with th.no_grad():
        z, next_state, linearized = transition.transitions(
            MEAN.expand(N, -1), LOG_STD.expand(N, -1), U.expand(N, -1), kind
        )
        a = linearized.a[0]
        expected = a @ MEAN + linearized.b[0] @ U + linearized.offset[0]
    return z, next_state, a, th.diag((2 * LOG_STD).exp()), expected


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("kind", TRANSITION_SAMPLES)
@pytest.mark.parametrize("process_noise", [0.0, 0.5])
def test_joint_law(kind: str, matrix: str, process_noise: float) -> None:
    """Both kinds have the same marginal; the covariance with z is Σ Aᵀ for "same" and 0 for "resample"."""
    z, next_state, a, sigma, mean = draws(kind, process_noise, matrix)
    check(next_state.mean(0), mean, next_state.std(0) / math.sqrt(N))
    noise = process_noise**2 * th.eye(2, dtype=th.float64)
    estimate, error = covariance(next_state, next_state)
    check(estimate, a @ sigma @ a.mT + noise, error)
    estimate, error = covariance(z, next_state)
    check(estimate, sigma @ a.mT if kind == "same" else th.zeros(2, 2, dtype=th.float64), error)


@pytest.mark.parametrize(("kind", "spread"), [("same", 0.0), ("resample", 1.0)])
def test_law_given_the_latent(kind: str, spread: float) -> None:
    """Var(z' | z) is 0 for "same", and A Σ Aᵀ for "resample"."""
    transition, noise = constant(), th.tensor([[0.3, -1.1]], dtype=th.float64)
    with th.no_grad():
        _, next_state, linearized = transition.transitions(
            MEAN.expand(N, -1), LOG_STD.expand(N, -1), U.expand(N, -1), kind, noise.expand(N, -1)
        )
    a = linearized.a[0]
    estimate, error = covariance(next_state, next_state)
    check(estimate, spread * a @ th.diag((2 * LOG_STD).exp()) @ a.mT, error)


@pytest.mark.parametrize("kind", TRANSITION_SAMPLES)
def test_spread_of_the_difference(kind: str) -> None:
    """Cov(z' - z) is (A - I) Σ (A - I)ᵀ for "same", and A Σ Aᵀ + Σ for "resample"."""
    z, next_state, a, sigma, _ = draws(kind)
    step = a - th.eye(2, dtype=th.float64)
    estimate, error = covariance(next_state - z, next_state - z)
    check(estimate, step @ sigma @ step.mT if kind == "same" else a @ sigma @ a.mT + sigma, error)


def gradient_variance(kind: str, loss: str, a: float, std: float) -> tuple[th.Tensor, th.Tensor]:
    """Return the variance of a loss's derivative by the mean of z, for z' = a z + o, and its standard error."""
    transition = LocallyLinearTransition(1, 1, matrix="full").double()
    last = transition.network[-1]
    assert isinstance(last, th.nn.Linear)
    th.nn.init.zeros_(last.weight)
    last.bias.data = th.tensor([a - 1, 0.0, 0.3], dtype=th.float64)
    th.manual_seed(0)
    mean = th.full((N, 1), 0.4, dtype=th.float64, requires_grad=True)
    z, next_state, _ = transition.transitions(mean, th.full_like(mean, math.log(std)), th.zeros_like(mean), kind)
    value = (next_state - z - 0.2).square() if loss == "residual" else z.square() + next_state.square()
    (gradient,) = th.autograd.grad(value.sum(), mean)
    squares = (gradient - gradient.mean()).square()
    return squares.mean(), squares.std() / math.sqrt(N)


@pytest.mark.parametrize("a", [-0.8, 0.5, 1.1])
@pytest.mark.parametrize("kind", TRANSITION_SAMPLES)
@pytest.mark.parametrize("loss", ["residual", "separable"])
def test_gradient_variance(kind: str, loss: str, a: float) -> None:
    """Near A = I, "same" has less gradient variance for losses of z' - z, and more for separate losses of z and z'."""
    s2 = 0.49
    expected = {
        ("residual", "same"): 4 * s2 * (a - 1) ** 4,
        ("residual", "resample"): 4 * s2 * (a - 1) ** 2 * (1 + a**2),
        ("separable", "same"): 4 * s2 * (1 + a**2) ** 2,
        ("separable", "resample"): 4 * s2 * (1 + a**4),
    }
    estimate, error = gradient_variance(kind, loss, a, 0.7)
    check(estimate, th.tensor(expected[loss, kind], dtype=th.float64), error)
    quieter = expected[loss, "same"] < expected[loss, "resample"]
    assert quieter == (loss == "residual" and a > 0)


def test_linearised_at_its_own_point() -> None:
    """A, B and o are evaluated at the sample, not at the mean: z' is a function of z and u."""
    th.manual_seed(0)
    transition = LocallyLinearTransition(2, 1)
    mean, u = th.randn(50, 2), th.randn(50, 1)
    z, next_state, linearized = transition.transitions(mean, th.zeros(50, 2), u)
    th.testing.assert_close(next_state, transition.step(z, u))
    assert not th.allclose(transition(mean).a, linearized.a)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("process_noise", [0.0, 0.3])
def test_divergence(matrix: str, process_noise: float) -> None:
    """The KL divergence of the propagated Gaussian equals torch's, for each kind of matrix."""
    transition = constant(matrix, process_noise)
    other_mean, other_log_std = th.tensor([[1.0, -0.5]]).double(), th.tensor([[0.2, -0.3]]).double()
    linearized = transition(MEAN[None])
    result = transition.kl(linearized, MEAN[None], LOG_STD[None], U[None], other_mean, other_log_std)
    a = linearized.a[0]
    mean = linearized(MEAN[None], U[None])
    covariance = (a @ th.diag((2 * LOG_STD).exp()) @ a.mT + process_noise**2 * th.eye(2, dtype=th.float64))[None]
    expected = th.distributions.kl_divergence(
        th.distributions.MultivariateNormal(mean, covariance),
        th.distributions.MultivariateNormal(other_mean, th.diag_embed((2 * other_log_std).exp())),
    )
    th.testing.assert_close(result, expected, atol=1e-9, rtol=1e-9)


def test_determinants() -> None:
    """They exceed the minimum for any network output, hardly change far above it, and A = I for v = 0."""
    th.manual_seed(0)
    transition = LocallyLinearTransition(4, 1).double()
    for parameter in transition.parameters():
        parameter.data *= 4
    a = transition(5 * th.randn(1000, 4, dtype=th.float64)).a
    determinants = th.linalg.det(a).detach()
    assert float(determinants.min()) > 0.999 * MIN_DETERMINANT and float(determinants.max()) > 2
    assert bool((determinants < 0.5).any())
    still = LocallyLinearTransition(4, 1)
    last = still.network[-1]
    assert isinstance(last, th.nn.Linear)
    last.weight.data[:4] = 0
    last.bias.data[:4] = 0
    th.testing.assert_close(still(th.randn(5, 4)).a, th.eye(4).expand(5, 4, 4))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`matrix` must be one of 'rank_one', 'full', got 'diagonal'"):
        LocallyLinearTransition(2, 1, matrix="diagonal")
    with pytest.raises(TypeError, match=r"`z_dim` must be an integer, got 2\.5"):
        LocallyLinearTransition(2.5, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`hidden` must be >= 1, got 0"):
        LocallyLinearTransition(2, 1, hidden=(0,))
    with pytest.raises(ValueError, match="`process_noise` must be >= 0, got -1"):
        LocallyLinearTransition(2, 1, process_noise=-1)
    with pytest.raises(ValueError, match="`kind` must be one of 'same', 'resample', got 'both'"):
        constant().transitions(MEAN[None], LOG_STD[None], U[None], "both")


@pytest.mark.parametrize("matrix", ["rank_one", "full"])
def test_it_begins_near_where_it_is(matrix: str) -> None:
    """The steps of an untrained transition are short compared with the spread of the latents."""
    th.manual_seed(0)
    z, u = th.randn(500, 3), 2 * th.rand(500, 2) - 1
    step = LocallyLinearTransition(3, 2, matrix=matrix)(z)(z, u) - z
    assert step.square().mean().sqrt() < 0.05
