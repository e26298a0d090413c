"""Policies with a normalizing-flow actor and SB3's critics."""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule

from ardae_rl.common.policies import SquashedPolicy, check_no_sde, record_arguments
from ardae_rl.sac_nf.actor import FlowActor


class SACNFPolicy(SquashedPolicy):
    """Flow actor and critics.

    Example:

    >>> from ardae_rl import SACNF
    >>> model = SACNF("MlpPolicy", "Pendulum-v1", policy_kwargs={"flow": "planar", "n_flows": 2})
    >>> obs, _ = model.policy.obs_to_tensor(model.get_env().reset())
    >>> model.policy.log_prob(obs, model.policy(obs)).shape
    torch.Size([1])

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule of actor and critics.
    :param use_sde: Must be False. SB3's SAC passes it to every policy.
    :param kwargs: Arguments of :class:`~ardae_rl.sac_nf.actor.FlowActor` (``flow``, ``n_flows``,
        ``state_dependent_std``) and of SB3's ``SACPolicy`` (``net_arch``, ``activation_fn``, ``n_critics`` and others).
    :raises ValueError: For an unknown flow, ``n_flows`` below 1, or ``use_sde=True``.
    """

    actor_class = FlowActor
    actor: FlowActor  # type: ignore[assignment]

    @record_arguments
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        use_sde: bool = False,
        **kwargs: Any,
    ):
        check_no_sde(use_sde)
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def squashed_log_prob(self, obs: PyTorchObs, pre_tanh: th.Tensor) -> th.Tensor:
        return self.actor.log_prob(obs, pre_tanh)

    def sample_log_prob(self, obs: PyTorchObs, n_samples: int) -> th.Tensor:
        return th.stack([self.actor.sample(obs)[1] for _ in range(n_samples)], dim=1)


MlpPolicy = SACNFPolicy


class CnnPolicy(SACNFPolicy):
    """:class:`SACNFPolicy` for images, with SB3's Nature CNN by default.

    Example:

    >>> from stable_baselines3.common.envs import FakeImageEnv
    >>> from ardae_rl import SACNF
    >>> model = SACNF("CnnPolicy", FakeImageEnv(discrete=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = NatureCNN


class MultiInputPolicy(SACNFPolicy):
    """:class:`SACNFPolicy` for dictionary observations, with SB3's combined extractor by default.

    Example:

    >>> from stable_baselines3.common.envs import SimpleMultiObsEnv
    >>> from ardae_rl import SACNF
    >>> model = SACNF("MultiInputPolicy", SimpleMultiObsEnv(discrete_actions=False), buffer_size=100)
    >>> action, _ = model.predict(model.get_env().reset())
    """

    default_features_extractor = CombinedExtractor
