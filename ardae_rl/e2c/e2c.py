"""Embed to Control as an SB3 algorithm: steps are collected, a model is fitted, and acting is planning in it."""

from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_choice, check_positive
from ardae_rl.e2c.loss import E2CWeights, e2c_loss
from ardae_rl.e2c.policies import E2CPolicy, as_pictures
from ardae_rl.e2c.transition import TRANSITION_SAMPLES
from ardae_rl.latent.model_based import ModelBasedAlgorithm
from ardae_rl.latent.sequences import Sequences, SequenceSampler

_ACTIVE = 0.05  # variance that the means of an active latent have at least
_MEASURED = 1000  # pictures that the latents' scale is taken from


class E2C(ModelBasedAlgorithm):
    """Embed to Control: locally linear latent dynamics from pictures, and plans in them.

    Reference: Watter, Springenberg, Boedecker and Riedmiller (2015), Embed to Control,
    https://arxiv.org/abs/1506.07365; the further terms are of Levine et al. (2020), https://arxiv.org/abs/1909.01506,
    and Shu et al. (2020), https://arxiv.org/abs/2003.01086.

    See :class:`~ardae_rl.latent.model_based.ModelBasedAlgorithm` for ``learn``, and for the arguments not named here.
    Training wants to see all places: give it an environment that starts anywhere.

    :param policy: "MultiInputPolicy" for dictionaries with pictures "observation" and "desired_goal", or "CnnPolicy"
        for pictures alone, which plans for the reward that it learns
    :param env: the environment to learn from
    :param sequence_length: steps of a sequence, k: the model is to foresee so many
    :param prior_weight: see :class:`~ardae_rl.e2c.loss.E2CWeights`, as for the next four
    :param transition_weight: λ
    :param consistency_weight: of the squared distance of pushed means to encoded ones
    :param curvature_weight: of the error of the linearisation
    :param contrastive_weight: of picking the right successor from a batch
    :param curvature_noise: standard deviation of the points where the linearisation is tried
    :param transition_sample: "same" or "resample", see
        :class:`~ardae_rl.e2c.transition.LocallyLinearTransition`
    :param reward_weight: of the squared error of the reward
    :raises ValueError: for arguments outside of what is accepted
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
        prior_weight: float = 1.0,
        transition_weight: float = 0.25,
        consistency_weight: float = 0.0,
        curvature_weight: float = 0.0,
        contrastive_weight: float = 0.0,
        curvature_noise: float = 0.1,
        transition_sample: str = "same",
        reward_weight: float = 1.0,
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
        self.reward_weight = reward_weight
        self.prior_weight, self.transition_weight = prior_weight, transition_weight
        self.consistency_weight, self.curvature_weight = consistency_weight, curvature_weight
        self.contrastive_weight = contrastive_weight
        self.curvature_noise, self.transition_sample = curvature_noise, transition_sample
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_positive("curvature_noise", self.curvature_noise)
        check_choice("transition_sample", self.transition_sample, TRANSITION_SAMPLES)
        if self.transition_sample == "resample" and self.sequence_length > 1:
            raise ValueError(f"sequence_length={self.sequence_length!r} with 'resample': accepted is 1")
        self._weights()
        super()._setup_model()

    def _loss(self, batch: Sequences) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        loss, terms = e2c_loss(
            self.policy.model,
            as_pictures(batch.observations),
            batch.actions,
            self._weights(),
            self.transition_sample,
            self.curvature_noise,
        )
        if self.reward_weight:
            with th.no_grad():
                z, _ = self.policy.encoder(as_pictures(batch.observations[:, 0]))
            predicted = self.policy.reward(th.cat([z, batch.actions[:, 0]], -1)).squeeze(-1)
            terms["reward_error"] = (predicted - batch.rewards[:, 0]).square().mean()
            loss = loss + self.reward_weight * terms["reward_error"]
        return loss, terms

    @th.no_grad()
    def _after_fit(self, sampler: SequenceSampler, rng: np.random.Generator) -> None:
        """The latents' scale, which costs are in units of, and whether they say anything of the pictures."""
        mean, _ = self.policy.encoder(as_pictures(sampler.sample(_MEASURED, rng).observations[:, 0]))
        variance = mean.var(0)
        self.policy.latent_scale.copy_(variance.mean().sqrt().clamp_min(1e-6))
        self.logger.record("train/active_latents", int((variance > _ACTIVE).sum()))

    def _weights(self) -> E2CWeights:
        return E2CWeights(
            self.prior_weight,
            self.transition_weight,
            self.consistency_weight,
            self.curvature_weight,
            self.contrastive_weight,
        )
