"""Figure 7: moment constraints, whitening and the flow against closed forms; a small run of the experiment."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch as th
from torch.distributions import MultivariateNormal

from ardae_rl.runs.run import Run
from ardae_rl.score import entropy_surrogate
from experiments.ardae_paper import fig7
from experiments.ardae_paper.distances import earth_movers_distance
from experiments.ardae_paper.max_entropy import (
    Model,
    MomentConstraints,
    SmoothSampler,
    Whitening,
    flow_entropy,
    flow_samples,
    inverse_autoregressive_flow,
)
from experiments.figure import Result

CONSTRAINTS = MomentConstraints(
    th.tensor([1.0, -2.0, 0.5]), th.tensor([[2.0, 0.5, 0.0], [0.3, 1.0, 0.2], [0.0, -0.2, 0.7]])
)


def samples_with_moments(n: int, constraints: MomentConstraints) -> th.Tensor:
    """Return samples whose mean and covariance are exactly those of the constraints."""
    x = th.randn(n, 3)
    x = x - x.mean(0)
    white = th.linalg.solve_triangular(th.linalg.cholesky(th.cov(x.t())), x.t(), upper=False).t()
    return white @ th.linalg.cholesky(constraints.covariance).t() + constraints.mean


def test_violations_and_penalty() -> None:
    th.manual_seed(0)
    x = samples_with_moments(500, CONSTRAINTS)
    assert float(CONSTRAINTS.penalty(x)) == pytest.approx(0, abs=1e-9)
    shifted = CONSTRAINTS.mean + 2 * (x - CONSTRAINTS.mean) + th.tensor([0.0, 3.0, 4.0])
    c1, c2 = CONSTRAINTS.violations(shifted)
    assert float(c1) == pytest.approx(5, rel=1e-5)
    assert float(c2) == pytest.approx(3 * float(CONSTRAINTS.covariance.norm()), rel=1e-5)
    assert float(CONSTRAINTS.penalty(shifted)) == pytest.approx(float(c1**2 + c2**2), rel=1e-5)


def test_mean_penalty_of_exact_samples() -> None:
    """tr C / n + (tr(C)² + ‖C‖²) / (n - 1), from the variance of a Wishart matrix."""
    th.manual_seed(0)
    n, covariance = 16, CONSTRAINTS.covariance
    penalties = th.func.vmap(CONSTRAINTS.penalty)(CONSTRAINTS.solution.sample((20_000, n)).float())
    expected = covariance.trace() / n + (covariance.trace() ** 2 + covariance.square().sum()) / (n - 1)
    assert float(penalties.mean()) == pytest.approx(float(expected), rel=0.05)


def test_moment_divergence() -> None:
    """For moments (m, k² C) it is (d k² - d - d ln k²) / 2."""
    th.manual_seed(0)
    x = samples_with_moments(500, CONSTRAINTS)
    assert CONSTRAINTS.moment_divergence(x) == pytest.approx(0, abs=1e-6)
    wider = CONSTRAINTS.mean + 2 * (x - CONSTRAINTS.mean)
    assert CONSTRAINTS.moment_divergence(wider) == pytest.approx(1.5 * (4 - 1 - math.log(4)), rel=1e-4)


def test_draw_of_constraints() -> None:
    th.manual_seed(0)
    drawn = [MomentConstraints.draw(4) for _ in range(2000)]
    mean_covariance = th.stack([constraints.covariance for constraints in drawn]).mean(0)
    assert float((mean_covariance - 4 * th.eye(4)).abs().max()) < 0.4, "E[BᵀB] = dim · I"
    covariance = CONSTRAINTS.factor.t() @ CONSTRAINTS.factor
    th.testing.assert_close(CONSTRAINTS.solution.covariance_matrix.float(), covariance)


def test_whitening() -> None:
    th.manual_seed(0)
    whitening = Whitening(3)
    x = samples_with_moments(400, CONSTRAINTS)
    whitening.update(x)
    y = whitening(x)
    th.testing.assert_close(y.mean(0), th.zeros(3), atol=1e-5, rtol=0)
    th.testing.assert_close(y.t() @ y / len(y), th.eye(3), atol=1e-4, rtol=0)
    # Here the covariance divides by n, in the constraints by n - 1
    expected = 0.5 * th.linalg.slogdet(CONSTRAINTS.covariance * 399 / 400)[1]
    th.testing.assert_close(whitening.log_volume, expected, atol=1e-4, rtol=1e-4)


def test_entropy_gradient_through_whitening() -> None:
    """The gradient for x = A z is A⁻ᵀ, from the score -y of the whitened samples."""
    th.manual_seed(0)
    factor = th.linalg.cholesky(CONSTRAINTS.covariance).requires_grad_()
    unit = MomentConstraints(th.zeros(3), th.eye(3))
    x = samples_with_moments(400, unit) @ factor.t()
    whitening = Whitening(3)
    whitening.update(x)
    y = whitening(x)
    entropy_surrogate(y, -y).backward()
    assert factor.grad is not None
    th.testing.assert_close(factor.grad, th.linalg.inv(factor.detach()).t(), atol=1e-3, rtol=1e-3)


def test_flow_samples_with_their_density_in_one_pass() -> None:
    th.manual_seed(0)
    flow = inverse_autoregressive_flow(4, n_transforms=2, width=16)
    calls: list[int] = []
    for module in flow.modules():
        if type(module).__name__ == "MaskedMLP":
            module.register_forward_hook(lambda *_: calls.append(1))
    x, log_prob = flow().rsample_and_log_prob((64,))
    assert len(calls) == 2, "a pass through each transform's network"
    th.testing.assert_close(flow().log_prob(x), log_prob, atol=1e-4, rtol=1e-4)

    transform, z = flow().transform.inv, th.randn(4)
    jacobian = th.autograd.functional.jacobian(transform, z)
    base = MultivariateNormal(th.zeros(4), th.eye(4))
    expected = base.log_prob(z) - th.linalg.slogdet(jacobian)[1]
    th.testing.assert_close(flow().log_prob(transform(z)), expected, atol=1e-4, rtol=1e-4)
    log_prob.mean().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())


def test_earth_movers_distance() -> None:
    th.manual_seed(0)
    x = th.randn(50, 3)
    assert earth_movers_distance(x, x[th.randperm(50)]) == pytest.approx(0, abs=1e-9)
    # Moved as a whole: by Jensen's inequality no assignment is cheaper than the shift
    assert earth_movers_distance(x, x + th.tensor([3.0, 0.0, 4.0])) == pytest.approx(5, rel=1e-6)


def test_schedule() -> None:
    settings = {"n_updates": 100, "first_penalty": 0.01, "last_penalty": 100.0}
    assert fig7.schedule(settings, 0) == pytest.approx((0.01, 1))
    assert fig7.schedule(settings, 25) == pytest.approx((1, 1))
    assert fig7.schedule(settings, 50) == pytest.approx((100, 1))
    assert fig7.schedule(settings, 75) == pytest.approx((100, 0.5))


def small(**changes: Any) -> dict[str, Any]:
    sizes = {"n_updates": 150, "n_warm_up": 20, "n_entropy_updates": 10, "n_distance": 300, "n_moments": 4000}
    return fig7.runs("quick", 1)[0] | sizes | changes


def test_estimated_entropy_of_a_gaussian(tmp_path: Path) -> None:
    th.manual_seed(0)
    constraints = MomentConstraints.draw(fig7.DIM)
    factor = constraints.solution.scale_tril.float()

    def sample(n: int) -> th.Tensor:
        return constraints.mean + th.randn(n, fig7.DIM) @ factor.t()

    entropy = fig7.estimate_entropy(
        Model(sample, lambda _: (0.0, 0.0)), small(n_entropy_updates=60), Run(tmp_path), "entropy"
    )
    assert entropy == pytest.approx(float(constraints.solution.entropy()), abs=0.15)


def test_errors_of_a_gaussian() -> None:
    """For N(m, 4C), the gap is -d ln 2, the divergence (3d - d ln 4) / 2, and so is that of the moments."""
    th.manual_seed(0)
    constraints = MomentConstraints.draw(fig7.DIM)
    factor = 2 * constraints.solution.scale_tril
    wider = MultivariateNormal(constraints.mean.double(), scale_tril=factor)
    entropy = float(wider.entropy())
    errors = fig7.errors(Model(lambda n: wider.sample((n,)), lambda _: (entropy, 0.0)), 20_000, constraints)
    assert errors["entropy_gap"] == pytest.approx(-fig7.DIM * math.log(2), rel=1e-6)
    expected = 0.5 * fig7.DIM * (3 - math.log(4))
    assert errors["kl"] == pytest.approx(expected, rel=0.03)
    assert errors["moment_kl"] == pytest.approx(expected, rel=0.03)


def test_entropy_of_a_sampler() -> None:
    """A linear sampler has a Gaussian's entropy; x ≈ |z| folds, and its entropy is ln 2 below the bound."""
    th.manual_seed(0)
    sampler = SmoothSampler(3, noise_dim=3, width=16)
    sampler.network = th.nn.Sequential(th.nn.Linear(3, 3))
    weight = next(sampler.parameters()).detach()
    entropy, folded = sampler.entropy(100)
    gaussian = MultivariateNormal(th.zeros(3), weight @ weight.t())
    assert entropy == pytest.approx(float(gaussian.entropy()), rel=1e-4) and folded == 0

    sampler = SmoothSampler(1, noise_dim=1, width=16)
    sampler.network = th.nn.Sequential(Fold())
    entropy, folded = sampler.entropy(4000)
    normal_entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert entropy == pytest.approx(normal_entropy, rel=1e-4), "that of |z| is ln 2 less"
    assert folded == pytest.approx(0.5, abs=0.05)


class Fold(th.nn.Module):
    def forward(self, z: th.Tensor) -> th.Tensor:
        return z.abs()


def test_entropy_of_a_flow() -> None:
    """The entropy is the noise's plus the mean log volume of the map."""
    th.manual_seed(0)
    flow = inverse_autoregressive_flow(4, n_transforms=2, width=16)
    z = th.randn(200, 4)
    jacobians = th.stack([th.autograd.functional.jacobian(flow().transform.inv, row) for row in z])
    noise_entropy = float(MultivariateNormal(th.zeros(4), th.eye(4)).entropy())
    expected = noise_entropy + float(th.linalg.slogdet(jacobians)[1].mean())
    entropy, folded = flow_entropy(flow, 20_000)
    assert entropy == pytest.approx(expected, abs=0.15) and folded == 0
    assert flow_samples(flow, 5).shape == (5, 4)


def test_run(tmp_path: Path) -> None:
    """Both models come near the constraints in a few updates; a second call resumes from the checkpoints."""
    settings = small()
    rows = fig7.run(settings, Run(tmp_path))
    assert [row["model"] for row in rows] == ["AR-DAE", "IAF"]
    th.manual_seed(0)
    norm = float(MomentConstraints.draw(fig7.DIM).covariance.norm())  # c_2 at the start, nearly
    for row in rows:
        assert float(row["c2"]) < 0.5 * norm
        assert float(row["emd"]) < 1.5 * float(row["emd_floor"])
    for row in rows:  # the moments' part of the whole, up to the noise
        assert float(row["kl"]) > float(row["moment_kl"]) - 1
    assert fig7.run(settings, Run(tmp_path)) == rows

    results = [Result(settings, tmp_path, [{name: str(value) for name, value in row.items()} for row in rows])]
    table = fig7.summary(results[0].rows)
    assert [line["model"] for line in table] == ["AR-DAE", "IAF"]
    assert sum(line["nearer"] for line in table) == 1
    for line, row in zip(table, rows, strict=True):
        assert line["EMD"] == float(row["emd"]) and line["kl"] == float(row["kl"])
        debiased = float(row["emd"]) - (float(row["emd_floor"]) + float(row["emd_self"])) / 2
        assert line["debiased"] == pytest.approx(debiased)
    fig7.draw(results, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_runs() -> None:
    assert fig7.SEEDS == {"smoke": 2, "quick": 32, "paper": 256}
    for budget in fig7.SEEDS:
        runs = fig7.runs(budget, 3)
        assert [run["name"] for run in runs] == ["seed0", "seed1", "seed2"]
        assert all(run["batch"] == 128 for run in runs)
