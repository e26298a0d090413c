"""Preprocessing of frames for a vision model: functions on batches (..., height, width, 3), uint8."""

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch.nn import functional as F

from ardae_envs.checks import check_min

Frames = NDArray[np.uint8]

CAR_RACING_BAR = 12  # rows of the indicator bar


def crop_bar(frames: Frames, rows: int = CAR_RACING_BAR) -> Frames:
    """Return frames without their lowest rows, (..., height - rows, width, 3).

    In CarRacing, these rows show the indicator bar. It displays the speed, which a single frame does not show
    otherwise.

    :raises ValueError: Unless ``rows`` is between 0 and height - 1.
    """
    height = frames.shape[-3]
    if not 0 <= rows < height:
        raise ValueError(f"`rows` must be between 0 and {height - 1}, got {rows!r}")
    return frames[..., : height - rows, :, :]


def resize(frames: Frames, size: int = 64) -> Frames:
    """Resize to (..., size, size, 3) by antialiased bilinear interpolation, as Pillow's BILINEAR does."""
    check_min("size", size, 1)
    batch = th.from_numpy(np.ascontiguousarray(frames).reshape(-1, *frames.shape[-3:])).permute(0, 3, 1, 2)
    small = F.interpolate(batch.float(), (size, size), mode="bilinear", antialias=True)
    rounded: Any = small.round_().clamp_(0, 255).to(th.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    result: Frames = rounded.reshape(*frames.shape[:-3], size, size, 3)
    return result
