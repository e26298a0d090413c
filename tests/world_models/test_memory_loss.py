"""The memory's loss against values worked out by hand, its training, and prediction errors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch as th
from torch.nn import functional as F

from ardae_rl.runs.run import Run
from ardae_rl.world_models.data import SequenceBatch
from ardae_rl.world_models.fitting import fit
from ardae_rl.world_models.memory import MemoryRNN, z_loss
from ardae_rl.world_models.memory_loss import memory_loss, open_loop_errors, prediction_errors


def walk(rng: np.random.Generator, n: int = 64, length: int = 24) -> SequenceBatch:
    """Return sequences of a latent moved by actions: z' = 0.95 z + 0.5 a, reward a z, done if z > 1."""
    actions = rng.standard_normal((n, length, 1))
    z = np.zeros((n, length + 1, 1))
    z[:, 0] = rng.standard_normal((n, 1))
    for t in range(length):
        z[:, t + 1] = 0.95 * z[:, t] + 0.5 * actions[:, t]
    mean, a = (th.from_numpy(x).float() for x in (z, actions))
    log_std = th.full_like(mean, -3.0)
    noise = th.from_numpy(rng.standard_normal(z.shape)).float()
    rewards, dones = (a * mean[:, :-1]).squeeze(-1), mean[:, :-1, 0] > 1
    mask = th.ones(n, length, dtype=th.bool)
    return SequenceBatch(mean + log_std.exp() * noise, mean, log_std, a, rewards, dones, mask)


def test_by_hand() -> None:
    """Each term is a mean over existing steps; a terminal step counts ``done_factor`` times."""
    th.manual_seed(0)
    batch = walk(np.random.default_rng(0), n=3, length=4)
    mask = th.ones(3, 4, dtype=th.bool)
    mask[1, 2:] = False
    dones = th.zeros(3, 4, dtype=th.bool)
    dones[0, 3] = dones[1, 1] = True
    batch = replace(batch, mask=mask, dones=dones)
    model = MemoryRNN(1, 1, hidden=8)
    loss, terms = memory_loss(model, batch, "bound", reward_weight=2.0, done_weight=3.0, done_factor=5.0)
    prediction, _ = model(batch.z[:, :-1], batch.actions)
    latent = z_loss("bound", prediction.z, batch.z[:, 1:], batch.mean[:, 1:], batch.log_std[:, 1:])[mask].mean()
    reward = (prediction.reward - batch.rewards)[mask].square().mean()
    p = prediction.done_logit[mask].sigmoid()
    done = batch.dones[mask].float()
    entropy = -(5 * done * p.log() + (1 - done) * (1 - p).log()).mean()
    th.testing.assert_close(loss, latent + 2 * reward + 3 * entropy)
    th.testing.assert_close(terms["reward_error"], reward)
    nll = z_loss("nll", prediction.z, batch.z[:, 1:], batch.mean[:, 1:], batch.log_std[:, 1:])[mask].mean()
    th.testing.assert_close(terms["nll"], nll)


def _fitted(folder: Path, n_steps: int, stop_at: int | None = None) -> MemoryRNN:
    th.manual_seed(0)
    model = MemoryRNN(1, 1, hidden=32, n_components=1)

    def loss(rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        if stop_at is not None and len(calls) == stop_at:
            raise KeyboardInterrupt
        calls.append(1)
        return memory_loss(model, walk(rng), "gaussian_kl")

    calls: list[int] = []
    fit(model, loss, Run(folder), name="memory", n_steps=n_steps, learning_rate=0.01, every=20)
    return model


def test_foresight(tmp_path: Path) -> None:
    """After training, errors are small where those of copying are large; rewards and ends are predicted."""
    model = _fitted(tmp_path, 300)
    batch = walk(np.random.default_rng(10**6), n=256)
    errors = open_loop_errors(model, batch, warm_up=4, horizons=(1, 5, 15))
    assert errors["error_1"] < 0.02 and errors["error_15"] < 0.1
    assert errors["copy_1"] > 0.05 and errors["copy_15"] > 0.5
    with th.no_grad():
        prediction, _ = model(batch.z[:, :-1], batch.actions)
    assert F.mse_loss(prediction.reward, batch.rewards) < 0.1 * batch.rewards.var()
    assert ((prediction.done_logit > 0) == batch.dones).float().mean() > 0.95


@pytest.mark.parametrize(("warm_up", "horizons"), [(5, (1, 3)), (1, (2,)), (21, (1, 4))])
def test_errors_by_hand(warm_up: int, horizons: tuple[int, ...]) -> None:
    """True latents up to the warm-up and predicted ones after it, each passed through from the start.

    The unit is the mean variance of a dimension of the latents. The last case needs every frame of the sequences.
    """
    th.manual_seed(0)
    model, batch = MemoryRNN(2, 1, hidden=8), walk(np.random.default_rng(0))
    means, mask = th.cat([batch.mean, 4 + 2 * batch.mean.square()], -1), batch.mask.clone()
    mask[:10, warm_up] = False  # too short
    errors = open_loop_errors(model, replace(batch, mean=means, mask=mask), warm_up, horizons)
    z, truth = means[10:].clone(), means[10:]
    variance = truth.reshape(-1, 2).var(0).mean()
    with th.no_grad():
        for horizon in range(1, max(horizons) + 1):
            at = warm_up + horizon - 1
            z[:, at] = model(z[:, :at], batch.actions[10:, :at])[0].z.mean[:, -1]
            if horizon in horizons:
                error = (z[:, at] - truth[:, at]).square().mean() / variance
                copied = (truth[:, warm_up - 1] - truth[:, at]).square().mean() / variance
                assert errors[f"error_{horizon}"] == pytest.approx(float(error), rel=1e-4)
                assert errors[f"copy_{horizon}"] == pytest.approx(float(copied), rel=1e-4)
    assert errors.keys() == {f"{name}_{horizon}" for horizon in horizons for name in ("error", "copy")}


def test_too_short_for_errors() -> None:
    model, batch = MemoryRNN(1, 1, hidden=8), walk(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"`warm_up` must be >= 1, and sequences .* `warm_up` \+ 14 steps, got 24"):
        open_loop_errors(model, batch, 24, (15,))
    with pytest.raises(ValueError, match=r"`warm_up` must be >= 1, .* got 0"):
        open_loop_errors(model, batch, 0, (1,))


@pytest.mark.parametrize(
    ("length", "horizons"), [(1, (1,)), (6, (1,)), (7, (1, 5)), (9, (1, 5)), (28, (1, 5, 15)), (29, (1, 5, 15))]
)
def test_horizons_that_fit(length: int, horizons: tuple[int, ...]) -> None:
    """The warm-up is half of the steps, and a latent follows the last one.

    Steps beyond the last horizon may be missing; sequences of 1, 7 and 28 steps have none to spare.
    """
    model, batch = MemoryRNN(1, 1, hidden=8), walk(np.random.default_rng(0), length=length)
    expected = open_loop_errors(model, batch, max(1, length // 2), horizons)
    assert prediction_errors(model, batch) == expected
    mask = batch.mask.clone()
    mask[:, -1] = False
    errors = prediction_errors(model, replace(batch, mask=mask))
    assert errors == ({} if length in (1, 7, 28) else expected)
    mask[0] = True
    some = open_loop_errors(model, replace(batch, mask=mask), max(1, length // 2), horizons)
    assert prediction_errors(model, replace(batch, mask=mask)) == some


def test_resumed_as_if_uninterrupted(tmp_path: Path) -> None:
    whole = _fitted(tmp_path / "whole", 60)
    with pytest.raises(KeyboardInterrupt):
        _fitted(tmp_path / "parts", 60, stop_at=50)
    resumed = _fitted(tmp_path / "parts", 60)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        th.testing.assert_close(a, b, rtol=0, atol=0)


def test_divergence_is_named(tmp_path: Path) -> None:
    model = MemoryRNN(1, 1, hidden=8)
    broken = replace(walk(np.random.default_rng(0)), rewards=th.full((64, 24), float("nan")))
    with pytest.raises(ValueError, match="reward_error is nan after 5 steps"):
        fit(model, lambda rng: memory_loss(model, broken), Run(tmp_path), name="memory", n_steps=5, learning_rate=0.01)
    with pytest.raises(ValueError, match="`n_steps` must be >= 1, got 0"):
        fit(model, lambda rng: memory_loss(model, broken), Run(tmp_path), name="m", n_steps=0, learning_rate=0.01)
