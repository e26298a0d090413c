"""The encoder and decoder of images: blur, motion, their initial outputs, and their limits."""

import math
from functools import partial

import pytest
import torch as th

from ardae_rl.latent.networks import GaussianEncoder, ImageDecoder

SHAPE = (1, 4, 4)


def test_near_things_look_alike_when_blurred() -> None:
    """The change of an encoding if a point moves by one pixel, relative to six pixels."""
    images = th.zeros(3, 1, 12, 12)
    for image, column in zip(images, (2, 3, 8), strict=True):
        image[0, 5, column] = 1.0
    ratios = {}
    for blur in (0.0, 3.0):
        th.manual_seed(0)
        means = th.stack([GaussianEncoder((1, 12, 12), 2, (64,), blur=blur)(images)[0] for _ in range(200)])
        distances = (means[:, :1] - means[:, 1:]).square().sum(-1).mean(0).sqrt()
        ratios[blur] = float(distances[0] / distances[1])
    assert ratios[0.0] == pytest.approx(1, abs=0.1)
    assert ratios[3.0] < 0.5


def test_blurred_noise_keeps_its_size() -> None:
    kernel = GaussianEncoder((1, 40, 30), 2, (8,), blur=3.0).rows
    th.testing.assert_close(kernel[20].square().sum(), th.tensor(1.0))


def test_motion_by_hand() -> None:
    """All images but the newest are replaced by differences of consecutive images."""
    th.manual_seed(0)
    encoder, images = GaussianEncoder((3, 4, 4), 2, (8,), motion=5.0), th.rand(6, 3, 4, 4)
    oldest, older, newest = images.unbind(1)
    seen = th.stack([5 * (older - oldest), 5 * (newest - older), newest], 1)
    th.testing.assert_close(encoder(images)[0], encoder.layers(seen)[:, :2])
    blurred = GaussianEncoder((3, 4, 4), 2, (8,), blur=2.0, motion=5.0)
    still = images[:, :1].expand(-1, 3, -1, -1)
    first = blurred.layers[1]
    assert isinstance(first, th.nn.Linear)
    first.weight.data[:, 32:] = 0
    # To rounding, because products of batches of another size may be summed in another order
    expected = blurred(th.zeros(1, 3, 4, 4))[0].expand(6, -1)
    th.testing.assert_close(blurred(still)[0], expected, rtol=0, atol=1e-6)


def test_initial_deviation() -> None:
    th.manual_seed(0)
    encoder = GaussianEncoder(SHAPE, 2, (8,), initial_std=0.3)
    assert encoder(th.rand(500, *SHAPE))[1].exp().mean().item() == pytest.approx(0.3, rel=0.2)


def test_decoder_returns_images() -> None:
    decoder = ImageDecoder(2, (3, 4, 5), (8,))
    z = th.randn(6, 2)
    assert decoder(z).shape == (6, 3, 4, 5)
    th.testing.assert_close(decoder(z)[2], decoder(z[2:3])[0])


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"`z_dim` must be an integer, got 2\.5"):
        GaussianEncoder(SHAPE, 2.5)  # type: ignore[arg-type]
    for make in (partial(GaussianEncoder, SHAPE, 2), partial(ImageDecoder, 2, SHAPE)):
        with pytest.raises(ValueError, match="`hidden` must be >= 1, got 0"):
            make(hidden=(0,))
    with pytest.raises(ValueError, match="`blur` must be >= 0, got -1"):
        GaussianEncoder(SHAPE, 2, blur=-1)
    with pytest.raises(ValueError, match=r"`motion` must be 0 for single images of shape \(1, 4, 4\), got 2.0"):
        GaussianEncoder(SHAPE, 2, motion=2.0)
    for deviation in (0.0, 2 * math.exp(2)):
        with pytest.raises(ValueError, match="`initial_std` must be between"):
            GaussianEncoder(SHAPE, 2, initial_std=deviation)


def test_constants_are_not_saved() -> None:
    """A model with another blur loads the same weights."""
    blurred, sharp = GaussianEncoder(SHAPE, 2, (8,), blur=1.0), GaussianEncoder(SHAPE, 2, (8,))
    assert blurred.state_dict().keys() == sharp.state_dict().keys()
