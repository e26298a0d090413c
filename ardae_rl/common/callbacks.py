"""Callbacks for any SB3 algorithm."""

import time

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
