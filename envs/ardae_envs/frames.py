"""Frames for a vision model: functions of batches as the environments give them, (..., height, width, 3), uint8."""

from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from torch.nn import functional as F

Frames = NDArray[np.uint8]

CAR_RACING_BAR = 12  # rows of the bar of indicators
CAR_RACING_ZOOM_STEPS = 50  # in which the camera comes nearer


def crop_bar(frames: Frames, rows: int = CAR_RACING_BAR) -> Frames:
    """Without the lowest rows, (..., height - rows, width, 3).

    In CarRacing that is the bar of indicators, speed among them, which no single picture shows without it.
    """
    height = frames.shape[-3]
    if not 0 <= rows < height:
        raise ValueError(f"rows={rows!r}: accepted are 0 to {height - 1}")
    return frames[..., : height - rows, :, :]


def resize(frames: Frames, size: int = 64) -> Frames:
    """To size x size, bilinear with antialiasing (as Pillow's BILINEAR), (..., size, size, 3)."""
    if size < 1:
        raise ValueError(f"size={size!r}: accepted are numbers from 1 up")
    batch = th.from_numpy(np.ascontiguousarray(frames).reshape(-1, *frames.shape[-3:])).permute(0, 3, 1, 2)
    small = F.interpolate(batch.float(), (size, size), mode="bilinear", antialias=True)
    rounded: Any = small.round_().clamp_(0, 255).to(th.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    result: Frames = rounded.reshape(*frames.shape[:-3], size, size, 3)
    return result


def after_zoom(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which frames of CarRacing show the road at its final size.

    :param steps: number of the frame in its episode, 0 for that of ``reset``
    """
    return steps >= CAR_RACING_ZOOM_STEPS
