"""Discriminators of single transitions."""

from abc import abstractmethod
from collections import deque
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_positive
from ardae_rl.irl.adversarial import AdversarialIRL, Demonstrations
from ardae_rl.irl.relabelling import Step, Transitions, select
from ardae_rl.irl.trajectories import joined
from ardae_rl.score.losses import contrastive_loss


class StepwiseIRL(AdversarialIRL):
    """Tells the demonstrations' transitions from the generator's latest.

    See :class:`~ardae_rl.irl.adversarial.AdversarialIRL` for the arguments that are not named here.

    :param n_recent: transitions of the generator that the discriminator's samples are from
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        generator: str | type[BaseAlgorithm] = "sac",
        generator_kwargs: dict[str, Any] | None = None,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        n_steps: int = 200,
        gradient_steps: int = 50,
        n_recent: int = 2000,
        weight_decay: float = 0.0,
        action_margin: float = 0.01,
        reward_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            demonstrations,
            generator,
            generator_kwargs,
            learning_rate,
            batch_size=batch_size,
            n_steps=n_steps,
            gradient_steps=gradient_steps,
            weight_decay=weight_decay,
            action_margin=action_margin,
            reward_kwargs=reward_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        self.n_recent = n_recent
        if _init_setup_model:
            self._setup_model()

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
        return contrastive_loss(demo_logits, sample_logits), metrics

    def _draw(self, transitions: Transitions) -> Transitions:
        """A batch, with replacement."""
        chosen = th.randint(len(transitions.actions), (self.batch_size,), device=self.device)
        return select(transitions, chosen)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_recent", "_samples"]
