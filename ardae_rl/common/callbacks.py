"""Callbacks for any SB3 algorithm."""

import time
from collections.abc import Callable

from stable_baselines3.common.callbacks import BaseCallback


class StopAfter(BaseCallback):
    """Ends training at the first call after so many seconds.

    :param seconds: from when the object is made
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.end = time.monotonic() + seconds

    def _on_step(self) -> bool:
        return time.monotonic() < self.end


class ShowSteps(BaseCallback):
    """A progress bar's function gets ``num_timesteps``; SB3's own bar takes every call for one step.

    :param update: see :func:`~ardae_rl.runs.progress.progress_bar`
    """

    def __init__(self, update: Callable[[int], None]) -> None:
        super().__init__()
        self.update = update

    def _on_step(self) -> bool:
        self.update(self.num_timesteps)
        return True
