"""The memory's shapes and invariants, and training on toy sequences whose optimal loss is known."""

import math

import pytest
import torch as th

from ardae_rl.world_models.memory import FORMS, LOG_SCALE_MAX, LOG_SCALE_MIN, Z_LOSSES, MemoryRNN, z_loss
from ardae_rl.world_models.mixture import negative_log_likelihood

BATCH, LENGTH, Z_DIM, ACTION_DIM = 4, 6, 3, 2


def memory(form: str = "joint", seed: int = 0) -> MemoryRNN:
    th.manual_seed(seed)
    return MemoryRNN(Z_DIM, ACTION_DIM, hidden=8, n_components=2, form=form)


def sequences(seed: int = 1) -> tuple[th.Tensor, th.Tensor]:
    generator = th.Generator().manual_seed(seed)
    return th.randn(BATCH, LENGTH, Z_DIM, generator=generator), th.randn(BATCH, LENGTH, ACTION_DIM, generator=generator)


@pytest.mark.parametrize("form", FORMS)
def test_shapes_and_gradients(form: str) -> None:
    model, (z, actions) = memory(form), sequences()
    prediction, _ = model(z, actions)
    weights = Z_DIM if form == "per_dimension" else 1
    assert prediction.z.log_weights.shape == (BATCH, LENGTH, weights, 2)
    assert prediction.z.means.shape == prediction.z.log_scales.shape == (BATCH, LENGTH, Z_DIM, 2)
    assert prediction.reward.shape == prediction.done_logit.shape == (BATCH, LENGTH)
    loss = negative_log_likelihood(prediction.z, z).sum() + prediction.reward.sum() + prediction.done_logit.sum()
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_steps_are_the_sequence() -> None:
    """Step by step, and in two halves with the state passed on."""
    model, (z, actions) = memory(), sequences()
    whole, end = model(z, actions)
    state, hidden = model.initial_state(BATCH), []
    for t in range(LENGTH):
        state = model.step(z[:, t], actions[:, t], state)
        hidden.append(state[0])
    by_steps = model.predict(th.stack(hidden, 1))
    first, middle = model(z[:, :2], actions[:, :2])
    second, end_of_halves = model(z[:, 2:], actions[:, 2:], middle)
    for a, b in ((end, state), (end, end_of_halves)):
        th.testing.assert_close(a, b)
    th.testing.assert_close(whole, by_steps)
    th.testing.assert_close(whole.z.means, th.cat([first.z.means, second.z.means], 1))


def test_scales_are_bounded_softly() -> None:
    model, (z, actions) = memory(), sequences()
    bias = model.head.bias.detach()
    for value in (-1000.0, 1000.0):
        bias[-2 - 2 * Z_DIM : -2] = value
        model.zero_grad()
        log_scales = model(z, actions)[0].z.log_scales
        bound = LOG_SCALE_MIN if value < 0 else LOG_SCALE_MAX
        th.testing.assert_close(log_scales, th.full_like(log_scales, bound), atol=1e-3, rtol=0)
    bias[-2 - 2 * Z_DIM : -2] = 0
    model(z, actions)[0].z.log_scales.sum().backward()
    assert float(model.head.weight.grad[-2 - 2 * Z_DIM : -2].abs().min()) > 0  # type: ignore[index]


def test_losses_agree_on_average() -> None:
    """The mean of "nll" is "gaussian_kl" plus the posterior's entropy for one component, and at most "bound"."""
    th.manual_seed(0)
    for k in (1, 2):
        model = MemoryRNN(Z_DIM, ACTION_DIM, hidden=8, n_components=k)
        z, actions = sequences()
        mixture = model(z, actions)[0].z
        mean, log_std = z, th.full_like(z, -0.5)
        draws = mean + log_std.exp() * th.randn(4000, *mean.shape)
        nll = th.stack([z_loss("nll", mixture, draw, mean, log_std) for draw in draws])
        error = 5 * nll.std(0) / math.sqrt(len(draws))
        bound = z_loss("bound", mixture, z, mean, log_std)
        assert (nll.mean(0) < bound + error).all()
        if k == 1:
            entropy = Z_DIM * (0.5 * math.log(2 * math.pi * math.e) - 0.5)
            kl = z_loss("gaussian_kl", mixture, z, mean, log_std)
            assert ((nll.mean(0) - kl - entropy).abs() < error).all()


def _trained(z: th.Tensor, n_components: int, steps: int = 150) -> float:
    """Return the negative log-likelihood of the next latent, in nats per dimension, on held-out sequences."""
    th.manual_seed(0)
    half, n, dim = len(z) // 2, z.shape[1] - 1, z.shape[2]
    actions = th.zeros(half, n, 1)
    model = MemoryRNN(dim, 1, hidden=32, n_components=n_components)
    optimizer = th.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = negative_log_likelihood(model(z[:half, :-1], actions)[0].z, z[:half, 1:]).mean() / dim
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with th.no_grad():
        return float(negative_log_likelihood(model(z[half:, :-1], actions)[0].z, z[half:, 1:]).mean()) / dim


def test_learns_an_autoregression() -> None:
    """For z' = 0.9 z + 0.3 ε, the loss is ½ ln(2 π e 0.09), much lower than for a constant or the last value."""
    th.manual_seed(1)
    z = th.zeros(256, 41, 2)
    z[:, 0] = th.randn(256, 2) * 0.3 / math.sqrt(1 - 0.81)
    for t in range(40):
        z[:, t + 1] = 0.9 * z[:, t] + 0.3 * th.randn(256, 2)
    best = 0.5 * math.log(2 * math.pi * math.e * 0.09)
    marginal = 0.5 * math.log(2 * math.pi * math.e * 0.09 / 0.19)
    loss = _trained(z, 1)
    assert best - 0.05 < loss < best + 0.1 < marginal


def test_components_pay_where_there_are_modes() -> None:
    """For z' = ±1 + 0.1 ε, five components are better than one by more than 0.3 nats per dimension."""
    th.manual_seed(1)
    z = th.randn(256, 41, 2).sign() + 0.1 * th.randn(256, 41, 2)
    assert _trained(z, 5) < _trained(z, 1) - 0.3


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`form` must be one of 'per_dimension', 'joint', got 'both'"):
        MemoryRNN(3, 2, form="both")
    with pytest.raises(ValueError, match="`hidden` must be >= 1, got 0"):
        MemoryRNN(3, 2, hidden=0)
    prediction, _ = memory()(*sequences())
    z = sequences()[0]
    with pytest.raises(ValueError, match=f"`kind` must be one of {', '.join(map(repr, Z_LOSSES))}, got 'mse'"):
        z_loss("mse", prediction.z, z, z, z)
