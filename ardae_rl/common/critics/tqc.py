"""A policy for sb3-contrib's TQC with a choice of critics."""

from typing import Any

from gymnasium import spaces
from sb3_contrib.tqc.policies import Critic
from sb3_contrib.tqc.policies import TQCPolicy as ContribTQCPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule

from ardae_rl.common.checks import check_choice
from ardae_rl.common.critics.kinds import make_critics


class TQCPolicy(ContribTQCPolicy):
    """TQC's policy with its own quantile critics, or with SimBa's networks in them.

    CrossQ's critics are not available, because they need a gradient step that differs from TQC's. The module imports
    sb3-contrib (extra ``zoo``). In RL Zoo, this is ``policy: 'ardae_rl.common.critics.tqc.TQCPolicy'``.

    Example:

    >>> from sb3_contrib import TQC
    >>> from ardae_rl.common.critics.tqc import TQCPolicy
    >>> model = TQC(TQCPolicy, "Pendulum-v1", policy_kwargs={"critic": "simba"})

    :param observation_space: Observation space.
    :param action_space: Action space.
    :param lr_schedule: Learning rate schedule of actor and critics.
    :param critic: "mlp" or "simba".
    :param kwargs: Arguments of sb3-contrib's ``TQCPolicy``.
    :raises ValueError: For any other kind of critics.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Schedule,
        critic: str = "mlp",
        **kwargs: Any,
    ) -> None:
        check_choice("critic", critic, ("mlp", "simba"))
        self.critic_name, self.critics = critic, make_critics(critic)
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Critic:
        made = super().make_critic(features_extractor)
        return self.critics.with_networks(made, self.critic_kwargs["net_arch"], self.activation_fn).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._get_constructor_parameters()
        return parameters | {"critic": self.critic_name}
