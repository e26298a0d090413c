"""CMA-ES: it finds maxima, and continues from a checkpoint bit for bit."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl.world_models.evolution import CMAES

pytest.importorskip("cma")


def sphere(x: np.ndarray) -> np.ndarray:
    return -np.square(x - 1).sum(1)


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return -(100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def ellipsoid(x: np.ndarray) -> np.ndarray:
    return -(np.square(x - 1) * 10 ** np.linspace(0, 6, x.shape[1])).sum(1)


def advance(es: CMAES, fitness: Callable[[np.ndarray], np.ndarray], generations: int) -> list[np.ndarray]:
    asked = []
    for _ in range(generations):
        asked.append(es.ask())
        es.tell(asked[-1], fitness(asked[-1]))
    return asked


@pytest.mark.parametrize(("fitness", "generations"), [(sphere, 120), (rosenbrock, 300), (ellipsoid, 250)])
def test_converges(fitness: Any, generations: int) -> None:
    es = CMAES(6, sigma=0.3, population_size=16, seed=1)
    asked = advance(es, fitness, generations)
    assert es.mean == pytest.approx(np.ones(6), abs=1e-3)
    assert es.generation == generations and es.sigma < 0.01
    assert asked[0].shape == (16, 6) and asked[0].dtype == np.float64


def test_goes_on_from_a_checkpoint() -> None:
    """The results are identical."""
    es = CMAES(np.full(5, 0.5), population_size=8, seed=3)
    advance(es, rosenbrock, 7)
    file = io.BytesIO()
    th.save(es.state_dict(), file)
    file.seek(0)
    expected = advance(es, rosenbrock, 20)

    other = CMAES(5, population_size=8, seed=9)
    other.load_state_dict(th.load(file, weights_only=True))
    assert other.generation == 7
    np.testing.assert_array_equal(advance(other, rosenbrock, 20), expected)
    np.testing.assert_array_equal(other.mean, es.mean)
    assert other.sigma == es.sigma


def test_quiet_and_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has no output, files or warnings, leaves NumPy's global generator alone, and is reproducible by its seed."""
    monkeypatch.chdir(tmp_path)
    np.random.seed(5)
    expected = np.random.RandomState(5).random_sample(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = advance(CMAES(4, population_size=6, seed=2), sphere, 30)
        np.testing.assert_array_equal(np.random.random_sample(3), expected)
        second = advance(CMAES(4, population_size=6, seed=2), sphere, 30)
        flat = CMAES(4, population_size=6, seed=2)
        advance(flat, lambda x: np.zeros(len(x)), 30)
    np.testing.assert_array_equal(first, second)
    assert (advance(CMAES(4, population_size=6, seed=3), sphere, 1)[0] != first[0]).all()
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "")


def test_what_is_not_finite_counts_as_the_worst() -> None:
    one, other = (CMAES(3, population_size=6, seed=0) for _ in range(2))
    candidates = one.ask()
    other.ask()
    fitness = sphere(candidates)
    fitness[[1, 4]] = np.nan, np.inf
    with pytest.warns(UserWarning, match="2 of 6 values of `fitness` are not finite; they count as the worst"):
        one.tell(candidates, fitness)
    fitness[[1, 4]] = fitness[[0, 2, 3, 5]].min()
    other.tell(candidates, fitness)
    np.testing.assert_array_equal(one.ask(), other.ask())
    with pytest.raises(ValueError, match="`fitness` must have at least one finite value, got none in 6"):
        one.tell(candidates, np.full(6, np.nan))


def test_arguments_are_left_alone() -> None:
    es = CMAES(3, population_size=6)
    candidates = es.ask()
    fitness = sphere(candidates)
    kept = candidates.copy(), fitness.copy()
    es.tell(candidates, fitness)
    np.testing.assert_array_equal(candidates, kept[0])
    np.testing.assert_array_equal(fitness, kept[1])
    es.mean[:] = 99
    assert np.abs(es.mean).max() < 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": 0}, "`mean` must be a number of parameters or a vector of finite numbers, got 0"),
        ({"mean": [1.0, np.nan]}, "`mean` must be a number of .*, got"),
        ({"mean": np.zeros((2, 2))}, "`mean` must be a number of parameters or a vector"),
        ({"sigma": 0.0}, "`sigma` must be positive, got 0.0"),
        ({"population_size": 2}, "`population_size` must be >= 3, got 2"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMAES(**({"mean": 3} | arguments))


def test_other_shapes_and_states() -> None:
    es = CMAES(3, population_size=6)
    candidates = es.ask()
    with pytest.raises(ValueError, match=r"`candidates` must have shape \(6, 3\), got \(5, 3\)"):
        es.tell(candidates[:5], np.zeros(5))
    with pytest.raises(ValueError, match=r"`fitness` must have shape \(6,\), got \(6, 1\)"):
        es.tell(candidates, np.zeros((6, 1)))
    with pytest.raises(ValueError, match="`state_dict` must have n_parameters=3, got 4"):
        es.load_state_dict(CMAES(4, population_size=6).state_dict())
    with pytest.raises(ValueError, match="`state_dict` must have population_size=6, got 8"):
        es.load_state_dict(CMAES(3, population_size=8).state_dict())


def test_without_pycma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cma", None)
    with pytest.raises(
        ImportError, match=r"cma is not installed; it comes with: pip install 'ardae-rl\[world-models\]"
    ):
        CMAES(3)
