"""The callback that inserts the discriminator's rounds into the generator's training."""

from typing import TYPE_CHECKING

from stable_baselines3.common.callbacks import BaseCallback

if TYPE_CHECKING:
    from ardae_rl.irl.adversarial import AdversarialIRL


class DiscriminatorRounds(BaseCallback):
    """Call the trainer between the generator's rollouts and updates, and pass all events on to the user's callback.

    :param trainer: Trainer of the discriminator.
    :param user_callback: Callback whose ``model`` is the trainer.
    """

    def __init__(self, trainer: "AdversarialIRL", user_callback: BaseCallback) -> None:
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
