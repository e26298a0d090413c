"""The implicit posterior: it finds a known optimum, and its invariants."""

import math

import pytest
import torch as th
from torch import nn

from ardae_rl.world_models.implicit_vision import ImplicitConvVAE
from ardae_rl.world_models.vision import active_units, as_images


def frames(n: int = 4) -> th.Tensor:
    return th.randint(0, 256, (n, 64, 64, 3), dtype=th.uint8, generator=th.Generator().manual_seed(0))


def greys(n: int) -> th.Tensor:
    return th.linspace(0, 255, n)[:, None, None, None].expand(n, 64, 64, 3).to(th.uint8)


def train(model: ImplicitConvVAE, data: th.Tensor, n_steps: int, learning_rate: float) -> None:
    optimizer = th.optim.Adam([p for name, p in model.named_parameters() if "estimator" not in name], learning_rate)
    for _ in range(n_steps):
        loss = model.loss(data)
        optimizer.zero_grad()
        loss.loss.backward()
        optimizer.step()


def test_moments_are_those_of_the_draws() -> None:
    th.manual_seed(0)
    model = ImplicitConvVAE(3, width=4, noise_dim=3)
    mean, log_std = model.encode(frames(1))
    draws = model.draw(frames(1).expand(4000, -1, -1, -1))
    # The moments come from 32 draws, in pairs ε, -ε
    assert bool(((draws.mean(0) - mean[0]).abs() < 0.5 * log_std[0].exp()).all())
    th.testing.assert_close(draws.std(0), log_std[0].exp(), rtol=0.5, atol=0)
    th.testing.assert_close(model.encode(frames(1)), (mean, log_std), rtol=0, atol=0)
    noise = model.state_dict()["_noise"]
    th.testing.assert_close(noise[:16], -noise[16:], rtol=0, atol=0)


def test_a_decoder_that_does_not_look_leaves_the_prior() -> None:
    """If the decoder ignores the latent, the optimal posterior is N(0, I) for every frame."""
    th.manual_seed(0)
    model = ImplicitConvVAE(2, width=4, noise_dim=4)
    for parameter in model.decoder.parameters():
        parameter.requires_grad_(False).zero_()
    train(model, greys(32), 400, 1e-3)
    draws = th.stack([model.draw(greys(4)).detach() for _ in range(1000)])  # (1000, frames, 2)
    th.testing.assert_close(draws.mean(0), th.zeros(4, 2), atol=0.25, rtol=0)
    th.testing.assert_close(draws.std(0), th.ones(4, 2), atol=0.25, rtol=0)


def test_learns() -> None:
    """Eight gray levels: less than half the error of the best constant image, and units that distinguish them."""
    th.manual_seed(0)
    data = greys(8)
    model = ImplicitConvVAE(4, width=8)
    train(model, data, 100, 0.003)
    loss = model.loss(data)
    images = as_images(data)
    constant = (images - images.mean(0)).square().sum((1, 2, 3)).mean()
    assert loss.reconstruction < 0.5 * constant
    assert active_units(loss.kl_by_unit) >= 2


def test_loss_of_a_posterior_without_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """If g ignores the noise, all latents are g(0, frame): relative to it, the estimator is trained and evaluated at 0.

    The divergence is then that of normal distributions with the smallest standard deviation, 1e-6.
    """
    th.manual_seed(0)
    model = ImplicitConvVAE(3, width=4)
    last, offsets = model.sampler.layers[-1], []
    assert isinstance(last, nn.Linear)
    last.bias.data.fill_(2.0)
    model.sampler.noise_layer.weight.data.zero_()

    def recorded(offset: th.Tensor, _: th.Tensor) -> th.Tensor:
        offsets.append(offset)
        return offset

    monkeypatch.setattr(model.estimator, "step", recorded)
    monkeypatch.setattr(model.estimator, "score", recorded)
    loss = model.loss(frames())
    assert [tuple(x.shape) for x in offsets] == [(4, 8, 3), (4, 8, 3), (4, 3)]
    assert all(bool((x.abs() < 1e-5).all()) for x in offsets)
    z, log_std = model.encode(frames())
    th.testing.assert_close(log_std, th.full((4, 3), math.log(1e-6)), atol=0.5, rtol=0)
    errors = (model.decode(z) - as_images(frames())).square().sum((1, 2, 3))
    th.testing.assert_close(loss.reconstruction, errors.mean())
    th.testing.assert_close(loss.loss, (errors + 0.5 * z.square().sum(1)).mean())
    th.testing.assert_close(loss.kl_by_unit, (0.5 * (z.square() - 1) - math.log(1e-6)).mean(0), rtol=0.1, atol=0)


def test_without_gradients_nothing_is_learnt() -> None:
    model = ImplicitConvVAE(2, width=4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with th.no_grad():
        model.loss(frames())
    for name, value in model.state_dict().items():
        th.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`noise_dim` must be >= 1, got 0"):
        ImplicitConvVAE(2, noise_dim=0)
    with pytest.raises(ValueError, match="`n_latents` must be >= 1, got 0"):
        ImplicitConvVAE(2, n_latents=0)
