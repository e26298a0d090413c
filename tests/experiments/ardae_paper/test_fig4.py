"""Energies against Table 1 of Rezende and Mohamed and closed forms, distances, entropies, and a small fit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch as th

from ardae_rl.runs.run import Run
from experiments.ardae_paper import fig4, fig_s4
from experiments.ardae_paper.energies import ENERGIES, N_CELLS, Energy, GridDensity
from experiments.figure import Result


def _gauss(x: float) -> float:
    return math.exp(-0.5 * x * x)


def _table(number: int, x: float, y: float) -> float:
    """exp(-U) as the paper's Table 2 prints it."""
    height = y - math.sin(2 * math.pi * x / 4)
    bump, step = 3 * _gauss((x - 1) / 0.6), 3 / (1 + math.exp(-(x - 1) / 0.3))
    return {
        1: _gauss((math.hypot(x, y) - 2) / 0.4) * (_gauss((x - 2) / 0.6) + _gauss((x + 2) / 0.6)),
        2: _gauss(height / 0.4),
        3: _gauss(height / 0.35) + _gauss((height + bump) / 0.35),
        4: _gauss(height / 0.4) + _gauss((height + step) / 0.35),
    }[number]


@pytest.mark.parametrize("number", ENERGIES)
def test_energies_are_those_of_the_table(number: int) -> None:
    points = [(1.3, -0.4), (-2.2, 0.3), (0.7, -2.0), (2.5, -1.5)]
    for point in points:
        energy = float(ENERGIES[number](th.tensor(point, dtype=th.float64)))
        assert math.exp(-energy) == pytest.approx(_table(number, *point), rel=1e-9)
    inside, outside = (ENERGIES[number](th.tensor([x, 0.5], dtype=th.float64)) for x in (4.5, 8.5))
    if number == 2:  # of the same height along a period
        assert float(outside - inside) == pytest.approx(2.5**2)


@pytest.mark.parametrize("number", ENERGIES)
def test_the_grid_holds_the_mass(number: int) -> None:
    density = GridDensity(ENERGIES[number])
    cells = density.log_cells.exp()
    assert float(cells.sum()) == pytest.approx(1, abs=1e-12)
    border = cells[[0, -1]].sum() + cells[:, [0, -1]].sum()
    assert float(border) < 1e-4
    assert float(density.region_shares().min()) > 0.05, "each region is worth looking at"


def _standard_normal() -> Energy:
    return Energy(lambda x: 0.5 * x.square().sum(-1), (-5, 5, -6, 6), lambda x: (x[..., 0] > 0).long(), ("-", "+"))


def test_quadrature_and_distances_against_a_gaussian() -> None:
    density = GridDensity(_standard_normal())
    edges_1, edges_2 = th.linspace(-5, 5, N_CELLS + 1), th.linspace(-6, 6, N_CELLS + 1)
    phi = th.distributions.Normal(0.0, 1.0).cdf
    cells = phi(edges_1.double()).diff()[:, None] * phi(edges_2.double()).diff()
    th.testing.assert_close(density.log_cells.exp(), cells, rtol=0, atol=2e-6)

    # Half the mass, in the right half of the plane: total variation 1/2, KL ln 2
    right = cells * (edges_1[:-1] >= -1e-6)[:, None]
    right = right / right.sum()
    assert density.total_variation(right) == pytest.approx(0.5, abs=1e-4)
    assert density.reverse_kl(right) == pytest.approx(math.log(2), abs=1e-3)
    assert density.total_variation(density.log_cells.exp()) == 0
    assert density.reverse_kl(density.log_cells.exp()) == pytest.approx(0, abs=1e-12)


def test_histograms_and_coverage() -> None:
    density = GridDensity(_standard_normal())
    shares = density.histogram(th.tensor([[-4.95, -5.95], [-4.95, 100.0], [4.99, 5.99], [0.05, 0.05]]))
    assert [tuple(cell) for cell in shares.nonzero().tolist()] == [(0, 0), (0, 99), (50, 50), (99, 99)]
    assert float(shares.sum()) == 1
    th.manual_seed(0)
    x = density.sample(40_000)
    th.testing.assert_close(x.mean(0), th.zeros(2), rtol=0, atol=0.02)  # four standard errors
    th.testing.assert_close(x.T @ x / len(x), th.eye(2), rtol=0, atol=0.03)
    assert density.coverage(x) == pytest.approx(1, abs=0.02)
    assert density.coverage(x[x[:, 0] > 0]) == 0


_SMALL = {"n_updates": 8, "batch_size": 16, "hidden": [8], "n_samples": 2000, "n_transported": 20, "decay_updates": 4}


def test_the_figure_in_small(tmp_path: Path) -> None:
    results = []
    for settings in (settings for settings in fig4.runs("quick", 1) if settings["energy"] == 3):
        at = Run(tmp_path / settings["name"])
        rows = [{name: str(value) for name, value in row.items()} for row in fig4.run(settings | _SMALL, at)]
        results.append(Result(settings, at.folder, rows))
    rows = [row for result in results for row in result.rows]
    assert len({result.folder for result in results}) == len(rows) == len(fig4.METHODS)
    assert all(0 < float(row["total_variation_floor"]) < float(row["total_variation"]) <= 1 for row in rows)
    fig4.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    summary = fig4.summary(rows)
    assert [row["method"] for row in summary] == list(fig4.METHODS)
    assert [row["TV 3"] for row in summary] == [float(row["total_variation"]) for row in rows]


def test_annealing_by_method(tmp_path: Path) -> None:
    """Half of the updates are half of the updates, and not all of them."""
    settings = fig4.runs("quick", 1)[0] | _SMALL | {"anneal_updates": 8}
    assert settings["method"] == "auxiliary"
    others: list[dict[str, float]] = [{"annealing": 0.5}, {"anneal_updates": 4}, {}]
    half, four, eight = (fig4.run(settings | other, Run(tmp_path / str(i))) for i, other in enumerate(others))
    assert half == four != eight


class _Cut(Exception):
    pass


@pytest.mark.parametrize("method", ["auxiliary", "AR-DAE implicit"])
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = next(s for s in fig4.runs("quick", 1) if s["method"] == method) | _SMALL
    steps = Run.steps
    monkeypatch.setattr(Run, "steps", lambda self, n, parts: steps(self, n, parts, every=3))
    whole = fig4.run(settings, Run(tmp_path / "whole"))

    def cut_after_five(self: Run, n: int, parts: Any) -> Any:
        for step in steps(self, n, parts, every=3):
            if step == 5:
                raise _Cut
            yield step

    monkeypatch.setattr(Run, "steps", cut_after_five)
    with pytest.raises(_Cut):
        fig4.run(settings, Run(tmp_path / "cut"))
    monkeypatch.setattr(Run, "steps", lambda self, n, parts: steps(self, n, parts, every=3))
    assert fig4.run(settings, Run(tmp_path / "cut")) == whole


def test_settings_of_the_runs() -> None:
    for figure, n_methods in ((fig4, 5), (fig_s4, 5)):
        for budget in ("quick", "paper"):
            made = figure.runs(budget, 2)
            assert len({settings["name"] for settings in made}) == len(made) == 2 * 4 * n_methods
    variants = {(s["n_score_updates"], s["noise_dim"]) for s in fig_s4.runs("paper", 1)}
    assert {n for n, d in variants if d == 10} == {1, 2, 5} and {d for n, d in variants if n == 5} == {2, 3, 10}
