"""The pendulum in pixels: its physics, its images, the regression, and a small run of the figure."""

from pathlib import Path

import numpy as np
import pytest
import torch as th

from ardae_rl.runs.run import Run
from experiments.figure import Result
from experiments.state_space import dvbf_pixels

_SMALL = {"n_updates": 3, "batch_size": 4, "encoder_hidden": 8, "n_matrices": 2}


@pytest.fixture(autouse=True)
def few_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    dvbf_pixels.sequences.cache_clear()
    monkeypatch.setattr(dvbf_pixels, "N_SEQUENCES", 20)


def test_energy() -> None:
    """Friction changes the energy by -μ θ'² dt, to first order in Euler's steps."""
    states = np.array([[0.3, 1.0], [2.5, -2.0]])
    after = dvbf_pixels.next_state(states, np.zeros(2))

    def energy(s: np.ndarray) -> np.ndarray:
        value: np.ndarray = 0.5 * s[:, 1] ** 2 + 9.81 * np.cos(s[:, 0])
        return value

    lost = energy(states) - energy(after)
    expected = 0.5 * 0.1 * 0.5 * (states[:, 1] ** 2 + after[:, 1] ** 2)
    np.testing.assert_allclose(lost, expected, atol=0.25)
    hanging = np.array([[np.pi, 0.0]])
    np.testing.assert_allclose(dvbf_pixels.next_state(hanging, np.zeros(1)), hanging, atol=1e-12)


def test_images() -> None:
    """Upright above the middle, hanging below, a quarter turn to the right of it."""
    up, right, down = dvbf_pixels.images(np.array([0.0, np.pi / 2, np.pi])).reshape(3, 16, 16)
    assert up[:8].sum() > 4 * up[8:].sum()
    np.testing.assert_allclose(down, up[::-1], atol=1e-12)
    np.testing.assert_allclose(right, up[::-1].T, atol=1e-12)
    assert up.max() <= 1 and up.min() >= 0


def test_torques_cause_what_follows() -> None:
    x, u, states = dvbf_pixels.sequences("test")
    assert x.shape == (20, 15, 256) and u.shape == (20, 14, 1)
    np.testing.assert_allclose(
        dvbf_pixels.next_state(states[:, 3], 2 * u[:, 3, 0].double().numpy()), states[:, 4], atol=1e-6
    )
    np.testing.assert_allclose(x[:, 4], dvbf_pixels.images(states[:, 4, 0]), atol=1e-6)


def test_regression() -> None:
    """Linear targets are explained exactly, a product only by the quadratic regression, noise by neither."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 4000, 3))
    targets = [np.stack([2 * part[:, 0] + 1, part[:, 1] * part[:, 2], rng.normal(size=4000)], 1) for part in z]
    linear, quadratic = (dvbf_pixels.explained((z[0], targets[0]), (z[1], targets[1]), degree) for degree in (1, 2))
    assert linear[0] == pytest.approx(1) and abs(linear[1]) < 0.01 and abs(linear[2]) < 0.01
    assert quadratic[:2] == pytest.approx([1, 1]) and abs(quadratic[2]) < 0.01


def test_the_figure_in_small(tmp_path: Path) -> None:
    results = []
    for settings in dvbf_pixels.runs("quick", 1):
        at = Run(tmp_path / settings["name"])
        rows = [{name: str(value) for name, value in row.items()} for row in dvbf_pixels.run(settings | _SMALL, at)]
        results.append(Result(settings, at.folder, rows))
    rows = [row for result in results for row in result.rows]
    assert [row["method"] for row in dvbf_pixels.summary(rows)] == list(dvbf_pixels.METHODS)
    assert all(float(row["linear_sin"]) <= 1 and np.isfinite(float(row["elbo"])) for row in rows)
    dvbf_pixels.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert th.is_tensor(dvbf_pixels.sequences("test")[0])
