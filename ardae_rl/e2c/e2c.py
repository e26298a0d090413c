"""Embed to Control as an SB3 algorithm: collect steps, fit a latent model to them, and act by planning in it."""

from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_keys
from ardae_rl.e2c.loss import E2CLoss, e2c_loss
from ardae_rl.e2c.policies import E2CPolicy, as_images
from ardae_rl.latent.model_based import ModelBasedAlgorithm
from ardae_rl.latent.sequences import Sequences, SequenceSampler

_ACTIVE_VARIANCE = 0.05  # a latent dimension counts as active if the variance of its means exceeds this
_N_MEASURED = 1000  # images from which the scale of the latents is estimated


class E2C(ModelBasedAlgorithm):
    """Embed to Control: locally linear latent dynamics learned from images, and planning in the latent space.

    Reference: Watter, Springenberg, Boedecker and Riedmiller (2015), Embed to Control,
    https://arxiv.org/abs/1506.07365; the optional terms are from Levine et al. (2020),
    https://arxiv.org/abs/1909.01506, and Shu et al. (2020), https://arxiv.org/abs/2003.01086.

    Arguments that are not documented here are those of
    :class:`~ardae_rl.latent.model_based.ModelBasedAlgorithm`. Training needs observations from the whole state space:
    use an environment whose episodes start in random states, such as one wrapped in
    ``ardae_envs.start_anywhere.StartAnywhere``.

    Example:

    >>> from ardae_rl import E2C
    >>> import ardae_envs
    >>> model = E2C("MultiInputPolicy", "ardae/PlanarObstacles-v0", n_collected=100, gradient_steps=5, batch_size=8)
    >>> model = model.learn(100)

    :param policy: "MultiInputPolicy" for dictionaries with the images "observation" and "desired_goal" (plans to the
        goal), or "CnnPolicy" for single images (plans that maximize the learned reward).
    :param env: The environment to learn from.
    :param sequence_length: Number k of steps per training sequence, which is how far the model is trained to predict.
    :param loss_kwargs: Settings of the loss, such as ``contrastive_weight``; see :class:`~ardae_rl.e2c.loss.E2CLoss`.
    :raises ValueError: If an argument has a value that is not supported.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "CnnPolicy": E2CPolicy,
        "MultiInputPolicy": E2CPolicy,
    }
    policy: E2CPolicy

    def __init__(
        self,
        policy: str | type[E2CPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_collected: int = 5000,
        gradient_steps: int = 10_000,
        batch_size: int = 128,
        sequence_length: int = 1,
        loss_kwargs: dict[str, Any] | None = None,
        random_share: float = 0.3,
        buffer_size: int = 50_000,
        max_grad_norm: float = 10.0,
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
            learning_rate,
            n_collected=n_collected,
            gradient_steps=gradient_steps,
            batch_size=batch_size,
            sequence_length=sequence_length,
            random_share=random_share,
            buffer_size=buffer_size,
            max_grad_norm=max_grad_norm,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        self.loss_kwargs = loss_kwargs
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        loss_kwargs = self.loss_kwargs or {}
        check_keys("loss_kwargs", loss_kwargs, [field.name for field in fields(E2CLoss)])
        self.loss_settings = E2CLoss(**loss_kwargs)
        if self.loss_settings.transition_sample == "resample" and self.sequence_length > 1:
            raise ValueError(
                f"`sequence_length` must be 1 with transition_sample='resample', got {self.sequence_length!r}"
            )
        super()._setup_model()

    def _loss(self, batch: Sequences) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        settings = self.loss_settings
        loss, terms = e2c_loss(self.policy.model, as_images(batch.observations), batch.actions, settings)
        if settings.reward_weight:
            with th.no_grad():
                z, _ = self.policy.encoder(as_images(batch.observations[:, 0]))
            predicted = self.policy.reward(th.cat([z, batch.actions[:, 0]], -1)).squeeze(-1)
            terms["reward_error"] = (predicted - batch.rewards[:, 0]).square().mean()
            loss = loss + settings.reward_weight * terms["reward_error"]
        return loss, terms

    @th.no_grad()
    def _after_fit(self, sampler: SequenceSampler, rng: np.random.Generator) -> None:
        """Measure the scale of the latents, the unit of plans' costs, and count the active ones."""
        mean, _ = self.policy.encoder(as_images(sampler.sample(_N_MEASURED, rng).observations[:, 0]))
        variance = mean.var(0)
        self.policy.latent_scale.copy_(variance.mean().sqrt().clamp_min(1e-6))
        self.logger.record("train/active_latents", int((variance > _ACTIVE_VARIANCE).sum()))
