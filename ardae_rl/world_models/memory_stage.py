"""The second stage of World Models: encode all frames, and train the memory on sequences of their latents."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch as th
from numpy.typing import NDArray

from ardae_rl.common.checks import check_choice, check_count, check_min, check_positive
from ardae_rl.runs.run import History, Run
from ardae_rl.world_models.data import FrameStore, LatentStore, SequenceBatch, SequenceSampler, encode, fingerprint
from ardae_rl.world_models.fitting import OnRow, fit
from ardae_rl.world_models.memory import Z_LOSSES
from ardae_rl.world_models.memory_loss import memory_loss, prediction_errors
from ardae_rl.world_models.policies import WorldModelPolicy
from ardae_rl.world_models.stage import Stage, split_episodes, steps_in_round

_N_VALIDATION_SEQUENCES = 256
_ENCODING_BATCH = 64


@dataclass(frozen=True)
class MemoryStage(Stage):
    """Trains M on sequences of latents, which are sampled anew for each batch. A tenth of the episodes is held out.

    :param n_steps: Number of gradient steps in the first round; later rounds take half as many.
    :param learning_rate: Initial learning rate of Adam, annealed to a hundredth along a cosine.
    :param sequence_length: Number of steps in a training sequence.
    :param batch_size: Number of sequences in a gradient step.
    :param z_loss: Loss of the next latent: ``"nll"``, ``"bound"`` or ``"gaussian_kl"``, see
        :func:`~ardae_rl.world_models.memory.z_loss`.
    :param reward_weight: Weight of the squared error of the reward.
    :param done_weight: Weight of the cross entropy of the end of an episode.
    :param done_factor: Factor by which terminal steps count more in that cross entropy (10 in the original code).
    :raises ValueError: For a value outside of its range.
    :raises TypeError: For a value of a wrong type.
    """

    name: ClassVar[str] = "memory"
    argument: ClassVar[str] = "memory_kwargs"

    n_steps: int = 1000
    learning_rate: float = 1e-3
    sequence_length: int = 250
    batch_size: int = 32
    z_loss: str = "nll"
    reward_weight: float = 1.0
    done_weight: float = 1.0
    done_factor: float = 1.0

    def __post_init__(self) -> None:
        for field in ("n_steps", "sequence_length", "batch_size"):
            check_count(self._named(field), getattr(self, field))
        check_positive(self._named("learning_rate"), self.learning_rate)
        check_positive(self._named("done_factor"), self.done_factor)
        check_min(self._named("reward_weight"), self.reward_weight, 0)
        check_min(self._named("done_weight"), self.done_weight, 0)
        check_choice(self._named("z_loss"), self.z_loss, Z_LOSSES)

    def __call__(
        self,
        policy: WorldModelPolicy,
        store: FrameStore,
        latents: LatentStore,
        run: Run,
        *,
        iteration: int = 0,
        seed: int = 0,
        context: Mapping[str, Any] | None = None,
        every: int = 100,
        on_row: OnRow = None,
        progress: bool = False,
    ) -> History:
        """Train the memory of ``policy``, or resume its training where the run was interrupted.

        :param latents: Posteriors of the frames in ``store``, see :func:`encode_frames`.
        :param iteration: Number of rounds before this one.
        :param context: Further settings that are recorded and compared, see :meth:`Stage.check_resumed`.
        :param every: Number of gradient steps between two rows, and between two checkpoints.
        :param on_row: Called with each row.
        :param progress: Whether to show a progress bar.
        :return: Rows with the step, mean losses, and for held-out sequences ``validation_nll`` and the errors of
            :func:`~ardae_rl.world_models.memory_loss.open_loop_errors`.
        :raises ValueError: If the run was started with other settings, or if the training diverges.
        """
        self.check_resumed(run, seed, context)
        memory, (training, held_out) = policy.memory, split_episodes(store, seed)
        length, n_validation = self.sequence_length, min(_N_VALIDATION_SEQUENCES, 4 * self.batch_size)
        sampler = SequenceSampler(latents, store, training, length, self.batch_size, np.random.default_rng(seed))
        validation_rng = np.random.default_rng([seed, 1])
        validation = SequenceSampler(latents, store, held_out, length, n_validation, validation_rng).sample()

        def loss_terms(batch: SequenceBatch) -> tuple[th.Tensor, dict[str, th.Tensor]]:
            batch = batch.to(policy.device)
            return memory_loss(memory, batch, self.z_loss, self.reward_weight, self.done_weight, self.done_factor)

        def loss(rng: np.random.Generator) -> tuple[th.Tensor, dict[str, th.Tensor]]:
            sampler.rng = rng
            return loss_terms(sampler.sample())

        @th.no_grad()
        def validate() -> dict[str, float]:
            nll = float(loss_terms(validation)[1]["nll"])
            return {"validation_nll": nll} | prediction_errors(memory, validation.to(policy.device))

        return fit(
            memory,
            loss,
            run,
            name=self.name,
            n_steps=steps_in_round(self.n_steps, iteration),
            learning_rate=self.learning_rate,
            final_learning_rate=0.01 * self.learning_rate,
            gradient_norm=1.0,
            seed=seed,
            validate=validate,
            every=every,
            on_row=on_row,
            progress=progress,
        )


def encode_frames(
    policy: WorldModelPolicy, store: FrameStore, folder: str | Path, progress: bool = False
) -> LatentStore:
    """Return V's posteriors of all stored frames, after computing those that the folder does not have yet.

    :param folder: Folder of the posteriors; created if missing.
    :param progress: Whether to show a progress bar.
    :raises ValueError: If the folder was filled by another vision model.
    """

    @th.no_grad()
    def encoded(frames: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        mean, log_std = policy.vision.encode(th.from_numpy(frames).to(policy.device))
        return mean.cpu().numpy(), log_std.cpu().numpy()

    mark = fingerprint(policy.vision, store.preprocessing)
    return encode(store, encoded, folder, mark, batch_size=_ENCODING_BATCH, progress=progress)
