"""The autoencoder's invariants, and that it learns to distinguish frames."""

import pytest
import torch as th

from ardae_rl.world_models.vision import ConvVAE, active_units, as_frames, as_images


def frames(n: int = 4) -> th.Tensor:
    return th.randint(0, 256, (n, 64, 64, 3), dtype=th.uint8, generator=th.Generator().manual_seed(0))


@pytest.mark.parametrize(("z_dim", "n_parameters"), [(32, 4_348_547), (64, 4_446_915)])
def test_layers_are_the_originals(z_dim: int, n_parameters: int) -> None:
    """As many parameters as in the authors' code."""
    assert sum(parameter.numel() for parameter in ConvVAE(z_dim).parameters()) == n_parameters


def test_shapes_and_gradients() -> None:
    th.manual_seed(0)
    model = ConvVAE(5, width=4, free_nats=0.0)
    mean, log_std = model.encode(frames())
    assert mean.shape == log_std.shape == (4, 5) and model.decode(mean).shape == (4, 3, 64, 64)
    model.loss(frames()).loss.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())


def test_frames_and_images() -> None:
    th.testing.assert_close(as_frames(as_images(frames())), frames(), rtol=0, atol=0)
    image = as_images(frames())
    assert image.shape == (4, 3, 64, 64) and image.is_contiguous(memory_format=th.channels_last)
    assert float(image[1, 2, 5, 7]) == pytest.approx(int(frames()[1, 5, 7, 2]) / 255)


def test_loss_in_parts() -> None:
    """Squared errors are summed over a frame, the divergence has a closed form, and free nats are not penalized."""
    th.manual_seed(0)
    model = ConvVAE(5, width=4, free_nats=0.0)
    th.manual_seed(1)
    loss = model.loss(frames())
    th.manual_seed(1)
    mean, log_std = model.encode(frames())
    z = mean + log_std.exp() * th.randn_like(mean)
    errors = (model.decode(z) - as_images(frames())).square().sum((1, 2, 3)).mean()
    posterior, prior = th.distributions.Normal(mean, log_std.exp()), th.distributions.Normal(0.0, 1.0)
    kl = th.distributions.kl_divergence(posterior, prior)
    th.testing.assert_close(loss.reconstruction, errors)
    th.testing.assert_close(loss.kl_by_unit, kl.mean(0))
    th.testing.assert_close(loss.loss, errors + kl.sum(1).mean())

    model.free_nats = 100.0
    th.testing.assert_close(model.loss(frames()).loss, model.loss(frames()).reconstruction + 500, rtol=1e-3, atol=0)


def test_draws_are_of_the_posterior() -> None:
    th.manual_seed(0)
    model = ConvVAE(5, width=4)
    model.posterior.bias.data.normal_()
    mean, log_std = model.encode(frames())
    th.manual_seed(1)
    drawn = model.draw(frames())
    th.manual_seed(1)
    th.testing.assert_close(drawn, mean + log_std.exp() * th.randn(4, 5))


def test_active_units() -> None:
    """Those above 0.01 nats."""
    assert active_units(th.tensor([0.0, 0.01, 0.0101, 3.0])) == 2


def test_learns() -> None:
    """Eight gray levels: less than half the error of the best constant image, and units that distinguish them."""
    th.manual_seed(0)
    data = th.linspace(0, 255, 8)[:, None, None, None].expand(8, 64, 64, 3).to(th.uint8)
    model = ConvVAE(4, width=8)
    optimizer = th.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(100):
        loss = model.loss(data)
        optimizer.zero_grad()
        loss.loss.backward()
        optimizer.step()
    images = as_images(data)
    constant = (images - images.mean(0)).square().sum((1, 2, 3)).mean()
    assert loss.reconstruction < 0.5 * constant
    assert active_units(loss.kl_by_unit) >= 2


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`z_dim` must be >= 1, got 0"):
        ConvVAE(0)
    with pytest.raises(ValueError, match="`free_nats` must be >= 0, got -1"):
        ConvVAE(2, free_nats=-1)
