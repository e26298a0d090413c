"""Preprocessing of frames, against Pillow and values worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from ardae_envs.frames import crop_bar, resize

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96, 3), dtype=np.uint8)


def test_crop() -> None:
    np.testing.assert_array_equal(crop_bar(FRAMES), FRAMES[:, :, :84])
    np.testing.assert_array_equal(crop_bar(FRAMES[0, 0], rows=0), FRAMES[0, 0])
    with pytest.raises(ValueError, match="`rows` must be between 0 and 95, got 96"):
        crop_bar(FRAMES, rows=96)


@pytest.mark.parametrize("frames", [FRAMES, crop_bar(FRAMES)], ids=["whole", "cropped"])
def test_resize_is_pillows(frames: np.ndarray) -> None:
    """Equal up to rounding: Pillow rounds between its two passes."""
    small = resize(frames, 64)
    assert small.shape == (2, 3, 64, 64, 3) and small.dtype == np.uint8
    expected = Image.fromarray(frames[1, 2]).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(small[1, 2].astype(int) - np.asarray(expected)).max() <= 1
    np.testing.assert_array_equal(resize(frames[1, 2], 64), small[1, 2])
    constant = np.full((5, 84, 96, 3), 102, np.uint8)
    assert (resize(constant) == 102).all()
    with pytest.raises(ValueError, match="`size` must be >= 1, got 0"):
        resize(frames, 0)
