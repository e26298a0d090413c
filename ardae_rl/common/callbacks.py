"""Callbacks for any algorithm of SB3."""

import time
from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback


class StopAfter(BaseCallback):
    """Stop training at the first step after a time limit.

    :param seconds: Time limit in seconds, counted from the construction of the callback.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.monotonic() + seconds

    def _on_step(self) -> bool:
        return time.monotonic() < self.end


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
