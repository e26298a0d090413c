"""The energy network: its Gaussian and its Fourier features."""

import pytest
import torch as th

from ardae_rl.ebm.energy import EnergyNetwork
from tests.ebm.gaussian import data


def test_gaussian_envelope() -> None:
    """Far from the data, the energy grows like that of the Gaussian, so Z is finite."""
    network = EnergyNetwork(2, n_frequencies=8)
    network.fit_scale(data())
    far = th.tensor([[100.0, 0.0], [0.0, -100.0]])
    assert (network(far) > 100).all()


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(ValueError, match="`hidden` must be >= 1, got 0"):
        EnergyNetwork(2, hidden=(8, 0))


def test_frequencies_by_hand() -> None:
    th.manual_seed(0)
    network, x = EnergyNetwork(2, n_frequencies=3), th.randn(5, 2)
    phases = x @ network.features.frequencies
    features = th.cat([x, phases.sin(), phases.cos()], 1)
    th.testing.assert_close(network(x), network.network(features)[:, 0] + x.square().sum(1) / 8)
