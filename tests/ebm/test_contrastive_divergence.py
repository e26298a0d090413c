"""Langevin dynamics and contrastive divergence against Gaussians."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch as th
from torch import nn

from ardae_rl.ebm import MarkovChainEBM, contrastive_divergence
from ardae_rl.ebm.langevin import energy_gradient, langevin
from ardae_rl.ebm.training import cosine_decay
from tests.ebm.gaussian import Parabola, data


def test_langevin() -> None:
    """The stationary distribution is that of the energy, up to the error of the step size."""
    th.manual_seed(0)
    x = langevin(Parabola(0.5), th.zeros(5000, 2), n_steps=300, step_size=0.1)
    th.testing.assert_close(x.std(0), th.full((2,), 0.5), atol=0.02, rtol=0)
    points = th.randn(7, 2)
    th.testing.assert_close(energy_gradient(Parabola(0.5), points), points / 0.25)


@pytest.mark.parametrize("persistent", [False, True])
def test_contrastive_divergence(persistent: bool) -> None:
    """The energy has the mean and the width of the data."""
    th.manual_seed(0)
    model = MarkovChainEBM(2, persistent, step_size=0.3, energy_kwargs={"hidden": (32, 32)})
    model.fit(data(), n_steps=300, batch_size=256, energy_weight=0.0)
    points = th.cartesian_prod(th.linspace(-2, 4, 121), th.linspace(-3, 3, 121))
    with th.no_grad():
        weights = (-model.energy(points)).softmax(0).unsqueeze(-1)
    mean = (weights * points).sum(0)
    th.testing.assert_close(mean, th.tensor([1.0, 0.0]), atol=0.1, rtol=0)
    deviation = (weights * (points - mean).square()).sum(0).sqrt()
    th.testing.assert_close(deviation, th.full((2,), 0.7), atol=0.15, rtol=0)


def test_steps_are_in_units_of_each_dimension(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[th.Tensor] = []

    def recorded(energy: nn.Module, x: th.Tensor, n_steps: int, step_size: th.Tensor) -> th.Tensor:
        steps.append(step_size)
        return langevin(energy, x, n_steps, step_size)

    monkeypatch.setattr(contrastive_divergence, "langevin", recorded)
    th.manual_seed(0)
    wide = data(1000) * th.tensor([100.0, 1.0])
    MarkovChainEBM(2, step_size=0.1).fit(wide, n_steps=1)
    th.testing.assert_close(steps[0], 0.1 * wide.std(0))


def test_cosine_decay() -> None:
    """One before step 4, a half between steps 4 and 8, zero after."""
    optimizer = th.optim.SGD([nn.Parameter(th.zeros(()))], lr=1.0)
    schedule, rates = cosine_decay(optimizer, 4, 8), []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    quarter = 0.5 + 0.5 * math.cos(math.pi / 4)
    assert rates == pytest.approx([1, 1, 1, 1, 1, quarter, 0.5, 1 - quarter, 0, 0, 0])


def test_first_step_has_the_learning_rate() -> None:
    """The first step of Adam changes each parameter by its learning rate, which falls to zero only afterwards."""
    th.manual_seed(0)
    model = MarkovChainEBM(2)
    before = [parameter.detach().clone() for parameter in model.energy.parameters()]
    model.fit(data(1000), n_steps=1, learning_rate=0.02)
    changes = [(new.detach() - old).abs().max() for new, old in zip(model.energy.parameters(), before, strict=True)]
    assert float(th.stack(changes).max()) == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_types_of_numbers(dtype: Any) -> None:
    numbers = np.random.default_rng(0).integers(-3, 3, (40, 2))
    results = []
    for values in (numbers.astype(dtype), th.as_tensor(numbers).float()):
        th.manual_seed(0)
        model = MarkovChainEBM(2)
        model.fit(values, n_steps=2, batch_size=8)
        results.append(model.energy(th.ones(1, 2)).detach())
    th.testing.assert_close(*results)
    with pytest.raises(TypeError, match="`data` must be a tensor or an array of numbers, got str"):
        MarkovChainEBM(2).fit("data")  # type: ignore[arg-type]


def test_divergence_is_named() -> None:
    model = MarkovChainEBM(2)
    next(model.parameters()).data.fill_(math.nan)
    with pytest.raises(ValueError, match="loss is nan after 1 steps: training has diverged"):
        model.fit(data(10), n_steps=1)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="`n_langevin` must be >= 1, got 0"):
        MarkovChainEBM(2, n_langevin=0)
    with pytest.raises(ValueError, match="`step_size` must be positive, got 0"):
        MarkovChainEBM(2, step_size=0)
    with pytest.raises(ValueError, match="`batch_size` must be >= 1, got 0"):
        MarkovChainEBM(2).fit(data(5), batch_size=0)
    with pytest.raises(ValueError, match="`energy_weight` must be >= 0, got -1"):
        MarkovChainEBM(2).fit(data(5), energy_weight=-1)


def test_bar_counts_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    @contextmanager
    def recorded(description: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
        assert (description, total, wanted) == ("energy: steps", 201, True)
        yield shown.append

    monkeypatch.setattr(contrastive_divergence, "progress_bar", recorded)
    model = MarkovChainEBM(2, n_langevin=1, energy_kwargs={"hidden": (4,)})
    model.fit(data(50), n_steps=201, batch_size=10, progress=True)
    assert shown == [*range(2, 201, 2)]


@pytest.mark.parametrize("persistent", [False, True])
def test_where_chains_start(persistent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the data of the batch, or where they have ended."""
    starts: list[th.Tensor] = []

    def recorded(energy: Any, x: th.Tensor, n_steps: int, step_size: Any) -> th.Tensor:
        starts.append(x)
        return x + 100

    monkeypatch.setattr(contrastive_divergence, "langevin", recorded)
    MarkovChainEBM(2, persistent=persistent).fit(data(50), n_steps=3, batch_size=10)
    assert [bool((start > 50).all()) for start in starts] == [False, persistent, persistent]
