"""Langevin dynamics and contrastive divergence against Gaussians."""

import math

import pytest
import torch as th

from ardae_rl.ebm import MarkovChainEBM
from ardae_rl.ebm.langevin import energy_gradient, langevin
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
