"""The energy-based model takes arrays and all types of numbers."""

from typing import Any

import numpy as np
import pytest
import torch as th

from ardae_rl import EnergyBasedGAN

DATA = np.random.default_rng(0).integers(-3, 3, (40, 2))


def model() -> EnergyBasedGAN:
    th.manual_seed(0)
    return EnergyBasedGAN(2, sampler="implicit")


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float16])
def test_types_of_numbers(dtype: Any) -> None:
    results = []
    for values in (DATA.astype(dtype), th.as_tensor(DATA).float()):
        trained: Any = model()
        trained.fit(values, n_steps=2, batch_size=8)
        results.append(trained.log_prob(values))
    th.testing.assert_close(*results)


def test_bad_queries() -> None:
    untrained: Any = model()
    with pytest.raises(ValueError, match=r"`x` must have shape \(n, 2\), got \(2,\)"):
        untrained.log_prob(np.zeros(2))
    with pytest.raises(ValueError, match="`x` must be finite, got 1 of 4 values that are not"):
        untrained.log_prob(np.array([[0, np.nan], [0, 0]]))
    with pytest.raises(TypeError, match="`data` must be a tensor or an array of numbers, got str"):
        untrained.fit("data")
    with pytest.raises(ValueError, match="`n` must be >= 1, got 0"):
        untrained.sample(0)
