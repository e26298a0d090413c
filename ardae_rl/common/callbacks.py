"""Callbacks for any SB3 algorithm."""

import math
import time
from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.type_aliases import MaybeCallback


class StopAfter(BaseCallback):
    """Stop training at the first step after a time limit.

    :param seconds: Time limit in seconds, counted from the construction of the callback.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        """Number of seconds left, at least 0."""
        return max(0.0, self.end - time.monotonic())

    def _on_step(self) -> bool:
        return time.monotonic() < self.end


def seconds_left(callback: BaseCallback | None) -> float:
    """Return the seconds until the first :class:`StopAfter` among the callbacks stops training; infinity if none."""
    if isinstance(callback, StopAfter):
        return callback.seconds_left
    parts = callback.callbacks if isinstance(callback, CallbackList) else []
    return min(map(seconds_left, parts), default=math.inf)


class ShowSteps(BaseCallback):
    """Report ``num_timesteps`` to a progress bar. (SB3's own bar counts each call as one step.)

    :param update: Function that moves the bar, see :func:`~ardae_rl.runs.progress.progress_bar`.
    """

    def __init__(self, update: Callable[[int], None]) -> None:
        super().__init__()
        self.update = update

    def _on_step(self) -> bool:
        self.update(self.num_timesteps)
        return True


def callback_list(callback: MaybeCallback) -> list[BaseCallback]:
    """Convert a callback in any of SB3's forms (None, an object, a function, a list) to a list of objects."""
    callbacks = callback if isinstance(callback, list) else [] if callback is None else [callback]
    return [item if isinstance(item, BaseCallback) else ConvertCallback(item) for item in callbacks]
