"""Discriminators of single transitions."""

from abc import abstractmethod
from collections import deque
from typing import Any

import numpy as np
import torch as th

from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.losses import discriminator_loss
from ardae_rl.irl.relabelling import Step, Transitions, select
from ardae_rl.irl.trajectories import joined
from ardae_rl.score.validation import check_positive


class StepwiseIRL(AdversarialIRL):
    """Tells the demonstrations' transitions from the generator's latest.

    :param n_recent: transitions of the generator that the discriminator's samples are from
    """

    def __init__(self, *args: Any, n_recent: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.n_recent = n_recent

    @abstractmethod
    def logits(self, transitions: Transitions) -> th.Tensor:
        """logit D, (n); above 0 where the discriminator takes them for demonstrations."""

    def _setup_model(self) -> None:
        check_positive("n_recent", self.n_recent)
        self._recent: deque[Step] = deque(maxlen=max(1, self.n_recent // self.n_envs))
        super()._setup_model()

    def _record(self, step: Step) -> None:
        self._recent.append(step)

    def _ready(self) -> bool:
        return sum(len(step.actions) for step in self._recent) >= min(self.n_recent, self.n_steps)

    def _before_turn(self) -> None:
        steps = list(self._recent)
        self._samples = self._tensors(
            joined(step.observations for step in steps),
            np.concatenate([step.actions for step in steps]),
            joined(step.next_observations for step in steps),
            np.concatenate([step.terminated for step in steps]),
        )

    def _discriminator_step(self) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        demo_logits = self.logits(self._draw(self.expert))
        sample_logits = self.logits(self._draw(self._samples))
        metrics = {
            "demo_accuracy": (demo_logits > 0).float().mean(),
            "sample_accuracy": (sample_logits < 0).float().mean(),
        }
        return discriminator_loss(demo_logits, sample_logits), metrics

    def _draw(self, transitions: Transitions) -> Transitions:
        """A batch, with replacement."""
        chosen = th.randint(len(transitions.actions), (self.batch_size,), device=self.device)
        return select(transitions, chosen)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recent", "_samples"]
