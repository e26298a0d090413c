"""Samplers draw their noise where their parameters are, and in their precision."""

import pytest
import torch as th

from ardae_rl.score.samplers import HierarchicalSampler, ImplicitSampler

SAMPLERS = {
    "implicit": lambda: ImplicitSampler(5, 3, [8]),
    "residual": lambda: ImplicitSampler(5, 3, [8], residual=True),
    "hierarchical": lambda: HierarchicalSampler(5, 3, [8]),
}


@pytest.mark.parametrize("kind", SAMPLERS)
def test_noise_is_on_the_parameters_device(kind: str) -> None:
    """On the meta device, an operation with a CPU tensor would be refused."""
    sampler = SAMPLERS[kind]().to("meta")
    assert sampler.sample_noise(4).device.type == "meta"
    x = sampler(4)
    assert x.device.type == "meta" and x.shape == (4, 3)
    assert SAMPLERS[kind]().double()(4).dtype == th.float64


def test_residual_needs_as_much_noise_as_dimensions() -> None:
    with pytest.raises(ValueError, match="`noise_dim` must be >= 3, got 2"):
        ImplicitSampler(2, 3, [8], residual=True)
