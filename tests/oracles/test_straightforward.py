"""The straightforward form of the network computes what the hand-written one does."""

from types import SimpleNamespace

import pytest
import torch as th

from ardae_rl.common import cpu
from ardae_rl.score import ARDAE
from tests.oracles.straightforward import DoubleBackpropagation, straightforward


@pytest.mark.parametrize("context_hidden", [(), (7, 6)])
@pytest.mark.parametrize("activation", ["elu", "silu"])
def test_same_gradients(activation: str, context_hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients of a training step of the paper's form agree."""
    estimator = ARDAE(
        2,
        3,
        loss="ardae",
        preconditioned=False,
        averaging=1,
        input_scale=100.0,
        network_kwargs={
            "hidden": (9, 8),
            "context_hidden": context_hidden,
            "point_hidden": (6,),
            "context_gain": False,
            "activation": activation,
        },
    ).double()
    th.manual_seed(0)
    samples, context = 0.1 * th.randn(8, 5, 2, dtype=th.float64), th.randn(8, 3, dtype=th.float64)
    draws = th.randn(2, 8, 5, 2, dtype=th.float64)
    noise: list[th.Tensor] = []
    # Both forms get the same noise, which chunks draw one after the other
    monkeypatch.setattr("ardae_rl.score.objective.normal_like", lambda x: noise.pop(0)[:, :, : x.shape[-1]])
    gradients = []
    monkeypatch.setattr(estimator.optimizer, "step", lambda: None)
    for form in ("by hand", "straightforward"):
        if form == "by hand":
            noise[:] = [part for parts in zip(*(draw.split(2) for draw in draws), strict=True) for part in parts]
            monkeypatch.setattr(cpu, "ROWS_IN_CACHE", 10)  # in chunks, unlike the other form
            metrics = estimator.step(samples, context)
        else:
            noise[:] = draws
            with straightforward(SimpleNamespace(estimator=estimator)):
                assert isinstance(estimator.model.network, DoubleBackpropagation)
                metrics = estimator.step(samples, context)
        gradients.append([metrics["loss"], *(p.grad for p in estimator.model.parameters() if p.grad is not None)])
        assert not noise
    assert type(estimator.model.network) is not DoubleBackpropagation
    assert len(gradients[0]) == len(gradients[1]) > 8
    for hand, double in zip(*gradients, strict=True):
        assert hand is not None and hand.abs().max() > 1e-9
        th.testing.assert_close(hand, double, rtol=1e-9, atol=1e-12)
