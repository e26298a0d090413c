"""The first stage of World Models: train the vision model on stored frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch as th

from ardae_rl.common.checks import check_count, check_positive
from ardae_rl.runs.run import History, Run
from ardae_rl.world_models.data import FrameStore
from ardae_rl.world_models.fitting import OnRow, fit
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stage import Stage, split_episodes, steps_in_round
from ardae_rl.world_models.vision import active_units

_N_VALIDATION_FRAMES = 256


@dataclass(frozen=True)
class VisionStage(Stage):
    """Trains V on stored frames. A tenth of the episodes is held out for validation.

    :param n_steps: Number of gradient steps in the first round; later rounds take half as many.
    :param learning_rate: Initial learning rate of Adam, annealed to a tenth along a cosine.
    :param batch_size: Number of frames in a gradient step.
    :raises ValueError: For a number that is not positive.
    :raises TypeError: For a value that is not a number.
    """

    name: ClassVar[str] = "vision"
    argument: ClassVar[str] = "vision_kwargs"

    n_steps: int = 4000
    learning_rate: float = 1e-3
    batch_size: int = 100

    def __post_init__(self) -> None:
        check_count(self._named("n_steps"), self.n_steps)
        check_positive(self._named("learning_rate"), self.learning_rate)
        check_count(self._named("batch_size"), self.batch_size)

    def __call__(
        self,
        policy: WorldModelPolicy,
        store: FrameStore,
        run: Run,
        *,
        iteration: int = 0,
        seed: int = 0,
        context: Mapping[str, Any] | None = None,
        every: int = 200,
        on_row: OnRow = None,
        progress: bool = False,
    ) -> History:
        """Train the vision model of ``policy``, or resume its training where the run was interrupted.

        :param iteration: Number of rounds before this one.
        :param context: Further settings that are recorded and compared, see :meth:`Stage.check_resumed`.
        :param every: Number of gradient steps between two rows, and between two checkpoints.
        :param on_row: Called with each row.
        :param progress: Whether to show a progress bar.
        :return: Rows with the step, mean losses, and for held-out frames ``validation_error`` and ``validation_kl`` per
            frame, and ``active_units``.
        :raises ValueError: If the run was started with other settings, or if the training diverges.
        """
        self.check_resumed(run, seed, context)
        vision, (training, held_out) = policy.vision, split_episodes(store, seed)
        draw = store.sample_frames
        validation = th.from_numpy(draw(np.random.default_rng([seed, 1]), _N_VALIDATION_FRAMES, held_out))

        def loss(rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
            terms = vision.loss(th.from_numpy(draw(rng, self.batch_size, training)).to(policy.device))
            return terms.loss, {"reconstruction": terms.reconstruction, "kl": terms.kl_by_unit.sum()}

        @th.no_grad()
        def validate() -> dict[str, float]:
            with th.random.fork_rng():
                th.manual_seed(seed)
                terms = vision.loss(validation.to(policy.device))
            return {
                "validation_error": float(terms.reconstruction),
                "validation_kl": float(terms.kl_by_unit.sum()),
                "active_units": active_units(terms.kl_by_unit),
            }

        return fit(
            vision,
            loss,
            run,
            others=vision.optimizers,
            name=self.name,
            n_steps=steps_in_round(self.n_steps, iteration),
            learning_rate=self.learning_rate,
            final_learning_rate=0.1 * self.learning_rate,
            seed=seed,
            validate=validate,
            every=every,
            on_row=on_row,
            progress=progress,
        )
