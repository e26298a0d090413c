"""Deep variational Bayes filters as an SB3 algorithm: learn a state-space model, and act by planning in it."""

from typing import Any, ClassVar

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.common.checks import check_choice, check_count, check_min
from ardae_rl.dvbf.elbo import ELBOTerms, elbo
from ardae_rl.dvbf.policies import DVBFPolicy
from ardae_rl.dvbf.posteriors import InitialStatePosterior
from ardae_rl.latent.model_based import ModelBasedAlgorithm
from ardae_rl.latent.sequences import Sequences, SequenceSampler

ANNEALINGS = ("dvbf", "kl", "none")
_N_MEASURED = 1000  # sequences that determine the mean and scale of observations


class DVBF(ModelBasedAlgorithm):
    """Deep variational Bayes filter: plans in a latent state-space model trained on the evidence lower bound.

    Reference: Karl, Soelch, Bayer and van der Smagt (2017), Deep variational Bayes filters,
    https://arxiv.org/abs/1605.06432; flows as in Kingma et al. (2016), https://arxiv.org/abs/1606.04934.

    Arguments that are not documented here are those of
    :class:`~ardae_rl.latent.model_based.ModelBasedAlgorithm`; ``policy_kwargs`` chooses posterior, transition and
    planner (:class:`~ardae_rl.dvbf.policies.DVBFPolicy`).

    Example:

    >>> from ardae_rl import DVBF
    >>> model = DVBF("MlpPolicy", "Pendulum-v1", n_collected=100, gradient_steps=5, batch_size=8)
    >>> model = model.learn(100)

    :param policy: "MlpPolicy" for vectors, or "CnnPolicy" for images.
    :param env: The environment to learn from.
    :param sequence_length: Length T of the training sequences, in steps.
    :param anneal: "dvbf" (a temperature on the joint density of observations and states, which preserves the entropy
        of the posterior), "kl" (a weight on the divergence), or "none".
    :param anneal_steps: Number of gradient steps after which the annealing has ended.
    :param reward_weight: Weight of the squared error of the predicted reward.
    :raises ValueError: If an argument has a value that is not supported.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": DVBFPolicy, "CnnPolicy": DVBFPolicy}
    policy: DVBFPolicy

    def __init__(
        self,
        policy: str | type[DVBFPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        n_collected: int = 5000,
        gradient_steps: int = 5000,
        batch_size: int = 64,
        sequence_length: int = 20,
        anneal: str = "dvbf",
        anneal_steps: int = 1000,
        reward_weight: float = 1.0,
        random_share: float = 0.3,
        buffer_size: int = 100_000,
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
        self.anneal, self.anneal_steps, self.reward_weight = anneal, anneal_steps, reward_weight
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        check_choice("anneal", self.anneal, ANNEALINGS)
        check_count("anneal_steps", self.anneal_steps, 0)
        check_min("reward_weight", self.reward_weight, 0)
        super()._setup_model()

    def elbo(self, observations: th.Tensor, actions: th.Tensor) -> ELBOTerms:
        """Return the terms of the evidence lower bound for one posterior sample per sequence.

        :param observations: (batch, T + 1, ...), as the environment returns them; images may also be channels-first.
        :param actions: (batch, T, action_dim) in [-1, 1]; action t causes observation t + 1.
        :raises ValueError: If the observations have the wrong shape.
        """
        return elbo(self.policy.model, self.policy.posterior, self._inputs(observations), actions)[0]

    @th.no_grad()
    def reconstruct(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Return the means of observations given states sampled from the posterior, (batch, T + 1, obs_dim).

        Images are returned flattened, in channels-first order. The arguments are those of :meth:`elbo`.
        """
        z = self.policy.sample_posterior(self._inputs(observations), actions).z
        return self.policy.postprocess(self.policy.model.emission.mean(z))

    @th.no_grad()
    def generate(self, observations: th.Tensor, actions: th.Tensor, noise: bool = True) -> th.Tensor:
        """Return the means of observations that the model generates from an initial state, (batch, T + 1, obs_dim).

        :param observations: (batch, n, ...), from which the initial state is inferred, as in :meth:`elbo`.
        :param actions: (batch, T, action_dim), the actions of all steps, at least n - 1.
        :param noise: Whether to sample process noise; without it, each state is the mean given the previous one. The
            posterior "initial_state" never has process noise.
        """
        x = self._inputs(observations)
        first = self.policy.sample_posterior(x, actions[:, : x.shape[1] - 1]).z[:, 0]
        deterministic = isinstance(self.policy.posterior, InitialStatePosterior)
        return self.policy.postprocess(self.policy.model.generate(first, actions, noise and not deterministic)[1])

    def _inputs(self, observations: th.Tensor) -> th.Tensor:
        """Return observations (batch, steps, ...) as the model sees them, with the channels of images first."""
        expected, given = self.observation_space.shape, tuple(observations.shape[2:])
        if given != expected and self.policy.has_images and len(given) == 3:
            observations = observations.movedim(-1, -3)
        if observations.shape[2:] != expected:
            shape = ", ".join(["batch", "steps", *map(str, expected or ())])
            raise ValueError(f"`observations` must have shape ({shape}), got {tuple(observations.shape)}")
        return self.policy.preprocess(observations, 2)

    def _loss(self, batch: Sequences) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        x = self.policy.preprocess(batch.observations, 2)
        terms, z = elbo(self.policy.model, self.policy.posterior, x, batch.actions)
        temperature = 1.0 if self.anneal_steps == 0 else min(1.0, 0.01 + self._n_updates / self.anneal_steps)
        if self.anneal == "dvbf":
            bound = temperature * (terms.reconstruction + terms.log_prior) - terms.log_posterior
        elif self.anneal == "kl":
            bound = terms.reconstruction - temperature * terms.kl
        else:
            bound = terms.elbo
        loss = -bound.mean() / x.shape[1]
        parts = {"elbo": terms.elbo.mean(), "kl": terms.kl.mean(), "reconstruction": terms.reconstruction.mean()}
        if self.reward_weight:
            predicted = self.policy.expected_reward(z[:, :-1].detach(), batch.actions)
            parts["reward_error"] = (predicted - batch.rewards).square().mean()
            loss = loss + self.reward_weight * parts["reward_error"]
        return loss, parts

    @th.no_grad()
    def _before_fit(self, sampler: SequenceSampler, rng: np.random.Generator) -> None:
        """Take the mean and scale of vector observations from the first round's data; later rounds keep them."""
        if self._n_updates == 0 and not self.policy.has_images:
            flat = sampler.sample(_N_MEASURED, rng).observations.flatten(0, 1).flatten(1).float()
            self.policy.obs_mean.copy_(flat.mean(0))
            self.policy.obs_std.copy_(flat.std(0).clamp_min(1e-3))
