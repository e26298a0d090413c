"""Running normalization against NumPy; batch renormalization against sb3-contrib's layer."""

import copy
from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib.common.torch_layers import BatchRenorm1d

from ardae_rl.common.critics import BatchRenorm, RunningNormalization, batch_statistics, frozen_statistics


def test_running_statistics() -> None:
    """They are those of all rows so far; other columns do not change."""
    generator = th.Generator().manual_seed(0)
    batches = [3 * th.randn(8, 5, generator=generator) + k for k in range(20)]
    layer = RunningNormalization(3)
    for batch in batches:
        layer(batch)
    rows = th.cat(batches)[:, :3].double()
    th.testing.assert_close(layer.running_mean, rows.mean(0).float())
    th.testing.assert_close(layer.running_var, rows.var(0, correction=0).float())
    layer.eval()
    y = layer(batches[0])
    expected = (batches[0][:, :3] - layer.running_mean) / (layer.running_var + 1e-5).sqrt()
    th.testing.assert_close(y, th.cat([expected, batches[0][:, 3:]], 1))
    assert layer.running_steps == 20


def test_frozen_statistics() -> None:
    layer = RunningNormalization(2)
    layer(th.randn(4, 2))
    before = copy.deepcopy(layer.state_dict())
    with frozen_statistics(layer):
        layer(th.randn(4, 2) + 7)
    assert layer.training and all(th.equal(before[name], value) for name, value in layer.state_dict().items())


def both(warmup_steps: int) -> tuple[BatchRenorm, Any]:
    ours, reference = BatchRenorm(4, warmup_steps=warmup_steps), BatchRenorm1d(4, warmup_steps=warmup_steps)
    with th.no_grad():
        for layer in (ours, reference):
            layer.scale.copy_(th.tensor([0.5, 1.0, 2.0, -1.0]))
            layer.bias.copy_(th.tensor([0.0, 1.0, -1.0, 0.3]))
    return ours, reference


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("warmup_steps", [0, 3, 1000])
def test_batch_renormalization_as_in_sb3_contrib(
    warmup_steps: int, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, gradients and statistics agree before and after the warm-up, in both forms of the computation."""
    ours, reference = both(warmup_steps)
    if not fused:
        monkeypatch.setattr(ours, "_normalized", ours._renormalized)
    reference.train()
    generator = th.Generator().manual_seed(0)
    for k in range(8):
        # Batches move away from the running statistics, so that the corrections reach their limits
        x = 2.0**k * th.randn(16, 4, generator=generator) + 5 * k
        weights = th.randn(16, 4, generator=generator)
        results = []
        for layer in (ours, reference):
            layer.zero_grad()
            own = x.clone().requires_grad_()
            with batch_statistics(layer):
                y = layer(own)
            (y * weights).sum().backward()
            results.append((y, own.grad, layer.scale.grad, layer.bias.grad))
        for value, expected in zip(*results, strict=True):
            th.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        th.testing.assert_close(ours.running_mean, reference.ra_mean, rtol=1e-5, atol=1e-5)
        th.testing.assert_close(ours.running_var, reference.ra_var, rtol=1e-5, atol=1e-5)
    assert ours.running_steps == reference.steps == 8
    reference.eval()
    th.testing.assert_close(ours(x), reference(x), rtol=1e-5, atol=1e-5)


def test_units_without_variance_have_finite_gradients() -> None:
    """A unit after ReLU may be zero in a whole batch."""
    layer = BatchRenorm(2, warmup_steps=0)
    for scale in (1.0, 0.0):
        x = (scale * th.randn(8, 2)).requires_grad_()
        with batch_statistics(layer):
            layer(x).square().sum().backward()
    assert x.grad is not None and layer.scale.grad is not None
    assert bool(x.grad.isfinite().all()) and bool(layer.scale.grad.isfinite().all())


@pytest.mark.parametrize("training", [True, False])
def test_only_batch_statistics_changes_statistics(training: bool) -> None:
    """Outside, a row's output depends on that row alone, in training mode, too."""
    layer = BatchRenorm(3).train(training)
    with batch_statistics(layer):
        layer(th.randn(10, 3) + 2)
    before = copy.deepcopy(layer.state_dict())
    x = th.randn(5, 3)
    whole = layer(x)
    th.testing.assert_close(th.cat([layer(row.unsqueeze(0)) for row in x]), whole)
    assert all(th.equal(before[name], value) for name, value in layer.state_dict().items())
    assert not np.allclose(before["running_mean"], 0)
