"""Fourier features against a formula, and their derivative against autograd."""

import pytest
import torch as th

from ardae_rl.score.fourier import FourierFeatures


@pytest.mark.parametrize("n_frequencies", [0, 5])
def test_features_and_their_derivative(n_frequencies: int) -> None:
    th.manual_seed(0)
    features = FourierFeatures(2, n_frequencies, frequency=3.0).double()
    x = th.randn(4, 7, 2, dtype=th.double, requires_grad=True)
    output = features(x)
    waves = [f(x @ features.frequencies) for f in (th.sin, th.cos)]
    th.testing.assert_close(output, th.cat([x, *waves], -1))
    assert output.shape[-1] == features.n_features == 2 + 2 * n_frequencies
    gradient = th.randn_like(output)
    (expected,) = th.autograd.grad(output, x, gradient)
    th.testing.assert_close(features.pull_back(output, gradient), expected)


def test_frequencies() -> None:
    """Frequencies have the given scale and, if there are any, are saved."""
    th.manual_seed(0)
    features = FourierFeatures(2, 5000, frequency=3.0)
    assert features.frequencies.std().item() == pytest.approx(3, rel=0.05)
    assert list(features.state_dict()) == ["frequencies"]
    assert not FourierFeatures(2, 0, frequency=3.0).state_dict()
    with pytest.raises(ValueError, match="`frequency` must be positive, got 0"):
        FourierFeatures(2, 5, frequency=0)
    with pytest.raises(ValueError, match="`n_frequencies` must be >= 0, got -1"):
        FourierFeatures(2, -1, frequency=1.0)
