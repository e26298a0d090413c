"""Figures 3 and S2: the optimal denoiser in closed form, and small runs."""

import math
from pathlib import Path

import pytest
import torch as th

from ardae_rl.runs.run import Run
from ardae_rl.runs.tables import read_csv, write_csv
from ardae_rl.score import ARDAE
from experiments.ardae_paper import error_curves, fig3, fig_s2, mixture
from experiments.figure import Result


def density(x: th.Tensor) -> th.Tensor:
    parts = [th.exp(-0.5 * (x - mean).square() / 0.25) / math.sqrt(2 * math.pi * 0.25) for mean in (-2.0, 2.0)]
    return th.stack(parts).mean(0)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 1.0, 3.0])
def test_optimal_denoiser_against_integration(sigma: float) -> None:
    """f*(x; σ) = -E_u[p(x - σu) u] / (σ E_u[p(x - σu)]) (Proposition 1), to 1e-8."""
    x = th.linspace(-4, 4, 41, dtype=th.float64)
    u = th.linspace(-12, 12, 200_001, dtype=th.float64)
    weight = th.exp(-0.5 * u.square())
    values = density(x.unsqueeze(1) - sigma * u) * weight
    expected = -th.trapezoid(values * u, u) / (sigma * th.trapezoid(values, u))
    th.testing.assert_close(mixture.score(x, sigma), expected, rtol=1e-8, atol=1e-8)


def test_score_is_the_gradient_of_the_log_density() -> None:
    x = th.linspace(-4, 4, 41, dtype=th.float64, requires_grad=True)
    (expected,) = th.autograd.grad(density(x).log().sum(), x)
    th.testing.assert_close(mixture.score(x.detach()), expected, rtol=1e-10, atol=1e-10)


def test_samples_have_the_mixtures_moments() -> None:
    th.manual_seed(0)
    x = mixture.sample(100_000)
    assert x.shape == (100_000, 1)
    # Standard errors: 0.007 of the mean, 0.003 of the deviation of one component
    assert abs(x.mean()) < 0.03
    assert x.abs().std().item() == pytest.approx(0.5, abs=0.015)


def test_errors_at_the_ends() -> None:
    """The optimum's error vanishes with σ; for large σ the estimate does, and the error is E|∇ ln p|."""
    assert error_curves.optimal_error(0.0) == 0
    th.manual_seed(0)
    mean_score = float(mixture.score(mixture.sample(200_000).double()).abs().mean())
    assert error_curves.optimal_error(1e4) == pytest.approx(mean_score, rel=0.01)


def test_noise_scales_count_in_units_of_x() -> None:
    """A preconditioned estimator counts in units of its learned scale, the raw one in units of x."""
    th.manual_seed(0)
    estimator = ARDAE(1, **fig3.amortized_arguments("default", 16))
    for _ in range(400):
        estimator.update(mixture.sample(256))
    assert fig3.unit(estimator) == pytest.approx(math.sqrt(4.25), rel=0.15)
    assert fig3.unit(ARDAE(1, **fig3.amortized_arguments("AR-DAE", 16))) == 1


@pytest.mark.parametrize("method", [*fig3.FIXED, *fig3.AMORTIZED])
def test_a_small_run(method: str, tmp_path: Path) -> None:
    settings = {"method": method, "seed": 0, "n_updates": 3, "width": 8, "n_sigmas": 2}
    if method in fig3.AMORTIZED:
        settings["estimator"] = fig3.amortized_arguments(method, 8)
    rows = fig3.run(settings, Run(tmp_path / "one"))
    sigmas = [1.0, 0.001, 0.0] if method in fig3.AMORTIZED else [1.0, 0.001]
    assert [float(row["sigma"]) for row in rows] == sigmas
    assert all(math.isfinite(float(row["error"])) for row in rows)
    assert fig3.run(settings, Run(tmp_path / "two")) == rows, "a seed gives the same numbers again"


def test_annealing_goes_on_from_the_larger_noise_scale(tmp_path: Path) -> None:
    settings = {"seed": 0, "n_updates": 0, "width": 8, "n_sigmas": 2}
    first, second = (
        [row["error"] for row in fig3.run(settings | {"method": method}, Run(tmp_path / method))]
        for method in ("resDAE", "resDAE annealed")
    )
    assert first[0] == second[0] and first[1] != second[1]


@pytest.mark.parametrize("absolute", [False, True])
def test_the_denoiser_of_a_hypernetwork_is_a_gradient(absolute: bool) -> None:
    """The output equals ∂ψ/∂x by autograd, for the network with the weights of each σ."""
    th.manual_seed(0)
    denoiser = fig_s2.HyperDenoiser(4, absolute).double()
    sigma = th.tensor([0.03, -0.1], dtype=th.float64)
    x = th.randn(2, 5, 1, dtype=th.float64, requires_grad=True)
    for k in range(2):
        condition = (sigma[k].abs() if absolute else sigma[k]).view(1, 1) / fig3.PAPER_DELTA
        weights, h, first = denoiser.hypernetwork(condition)[0], x[k], 0
        for n_in, n_out in [(1, 4), (4, 4), (4, 4), (4, 1)]:
            matrix = weights[first : first + n_in * n_out].view(n_in, n_out)
            bias = weights[first + n_in * n_out : first + (n_in + 1) * n_out]
            first += (n_in + 1) * n_out
            h = h @ matrix + bias
            h = th.nn.functional.softplus(h) if n_out > 1 else h
        assert first == len(weights)
        (expected,) = th.autograd.grad(h.sum(), x)
        th.testing.assert_close(denoiser(x.detach(), sigma)[k], expected[k], rtol=1e-9, atol=1e-9)
    assert th.equal(denoiser(x, sigma), denoiser(x, -sigma)) == absolute


@pytest.mark.parametrize("absolute", [False, True])
def test_a_small_run_of_the_hypernetwork(absolute: bool, tmp_path: Path) -> None:
    settings = {"method": "AR-DAE", "absolute": absolute, "seed": 0, "n_updates": 3, "width": 8, "n_sigmas": 2}
    rows = fig_s2.run(settings, Run(tmp_path / "one"))
    assert [row["sigma"] for row in rows] == ["1", "0.001", "0"]
    assert fig_s2.run(settings, Run(tmp_path / "two")) == rows


def test_equal_numbers_of_network_evaluations() -> None:
    """No method evaluates its network at more points in an update than the paper's AR-DAE."""
    evaluated: dict[str, int] = {}
    for method in fig3.AMORTIZED:
        estimator, rows = ARDAE(1, **fig3.amortized_arguments(method, 8)), [0]
        layer = estimator.model.network.joining_layer
        layer.register_forward_hook(lambda _m, _i, output, rows=rows: rows.append(output.shape[:-1].numel()))
        estimator.update(mixture.sample(fig3.BATCH))
        evaluated[method] = sum(rows)
    assert evaluated["AR-DAE"] == fig3.BATCH * fig3.N_NOISE
    assert all(n <= evaluated["AR-DAE"] for n in evaluated.values())


def test_the_plot(tmp_path: Path) -> None:
    rows = [
        {"method": method, "seed": seed, "sigma": sigma, "error": 0.1 * (1 + seed)}
        for method in fig3.FIXED
        for seed in range(2)
        for sigma in (0.01, 0.1)
    ]
    write_csv(tmp_path / "rows.csv", rows)
    read = read_csv(tmp_path / "rows.csv")
    fig3.draw([Result({}, tmp_path, read)], tmp_path / "fig3.png")
    assert (tmp_path / "fig3.png").stat().st_size > 10_000
    summary = fig3.summary(read)
    assert summary[0] == {"method": "regDAE", "error at sigma 0.01": pytest.approx(0.15), "error at sigma 0": "-"}
