"""Policies with SB3's Gaussian actor and a choice of critics."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac.policies import Actor
from torch.distributions import Normal

from ardae_rl.common.policies import SquashedPolicy, record_arguments
from ardae_rl.common.squashed import log_tanh_slope


class SACGaussianPolicy(SquashedPolicy):
    """SB3's Gaussian actor, and critics.

    Example:

    >>> from ardae_rl import SACGaussian
    >>> model = SACGaussian("MlpPolicy", "Pendulum-v1", policy_kwargs={"critic": "simba"})
    >>> obs, _ = model.policy.obs_to_tensor(model.get_env().reset())
    >>> model.policy.entropy(obs).shape
    torch.Size([1])

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule of actor and critics.
    :param kwargs: ``critic`` and ``critic_kwargs`` (:mod:`ardae_rl.common.critics`), and arguments of SB3's
        ``SACPolicy`` (``net_arch``, ``activation_fn``, ``log_std_init``, ``n_critics`` and others).
    """

    actor_class = Actor  # type: ignore[assignment]
    actor: Actor

    @record_arguments
    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Box, lr_schedule: Schedule, **kwargs: Any
    ):
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def squashed_log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        return self._gaussian(obs).log_prob(pre_tanh).sum(-1) - log_tanh_slope(pre_tanh)

    def sample_log_prob(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        gaussian = self._gaussian(obs)
        pre_tanh = gaussian.sample((n_samples,))
        return (gaussian.log_prob(pre_tanh).sum(-1) - log_tanh_slope(pre_tanh)).T

    def _gaussian(self, obs: PyTorchObs) -> Normal:
        """Return the distribution of actions before tanh, shape (batch, action_dim)."""
        mean, log_std, kwargs = self.actor.get_action_dist_params(obs)
        gaussian: Normal = self.actor.action_dist.proba_distribution(mean, log_std, **kwargs).distribution
        return gaussian


MlpPolicy = SACGaussianPolicy


class CnnPolicy(SACGaussianPolicy):
    """:class:`SACGaussianPolicy` for images, with SB3's Nature CNN by default.

    Example:

    >>> from stable_baselines3.common.envs import FakeImageEnv
    >>> from ardae_rl import SACGaussian
    >>> model = SACGaussian("CnnPolicy", FakeImageEnv(discrete=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = NatureCNN


class MultiInputPolicy(SACGaussianPolicy):
    """:class:`SACGaussianPolicy` for dictionary observations, with SB3's combined extractor by default.

    Example:

    >>> from stable_baselines3.common.envs import SimpleMultiObsEnv
    >>> from ardae_rl import SACGaussian
    >>> model = SACGaussian("MultiInputPolicy", SimpleMultiObsEnv(discrete_actions=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = CombinedExtractor
