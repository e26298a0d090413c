"""The callback that inserts the discriminator's rounds into the generator's training."""

from typing import Protocol

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback


class SupportsRounds(Protocol):
    """Trainer of a discriminator, which is notified at each stage of the generator's training."""

    def start_rollout(self) -> None:
        """Start collecting a rollout."""

    def report_progress(self, num_timesteps: int, progress_remaining: float) -> None:
        """Receive the generator's counters after a step."""

    def finish_rollout(self, last_values: th.Tensor | None, dones: NDArray[np.bool_]) -> None:
        """Train the discriminator if a round is due; ``last_values`` are the values after an on-policy rollout."""


class DiscriminatorRounds(BaseCallback):
    """Call the trainer between the generator's rollouts and updates, and pass all events on to the user's callback.

    :param trainer: Trainer of the discriminator.
    :param user_callback: Callback whose ``model`` is the trainer.
    """

    def __init__(self, trainer: SupportsRounds, user_callback: BaseCallback) -> None:
        super().__init__()
        self.trainer, self.user_callback = trainer, user_callback

    def _on_training_start(self) -> None:
        self.user_callback.on_training_start(self.locals, self.globals)

    def _on_rollout_start(self) -> None:
        self.trainer.start_rollout()
        self.user_callback.on_rollout_start()

    def _on_step(self) -> bool:
        # The generator updates its own progress only later: after a step, or even after a whole rollout
        self.trainer.report_progress(self.num_timesteps, max(0.0, 1 - self.num_timesteps / self.model._total_timesteps))
        self.user_callback.update_locals(self.locals)
        return self.user_callback.on_step()

    def _on_rollout_end(self) -> None:
        self.trainer.finish_rollout(self.locals.get("values"), self.locals["dones"])
        self.user_callback.update_locals(self.locals)
        self.user_callback.on_rollout_end()

    def _on_training_end(self) -> None:
        self.user_callback.on_training_end()
