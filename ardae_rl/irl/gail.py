"""Generative adversarial imitation learning (Ho and Ermon 2016), a baseline that yields no reusable reward."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn import functional as F

from ardae_rl.common.checks import check_choice
from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.discriminator import Discriminator, TransitionDiscriminator
from ardae_rl.irl.reward_nets import BasicRewardNet
from ardae_rl.irl.transitions import Transitions

REWARDS: dict[str, Callable[[th.Tensor], th.Tensor]] = {
    "softplus": F.softplus,
    "logit": lambda logits: logits,
    "log": F.logsigmoid,
}


class GAILDiscriminator(TransitionDiscriminator):
    """Discriminator of states and actions, whose logit is an unconstrained network.

    :param observation_space: Observation space of the environment.
    :param action_space: Action space of the environment.
    :param gamma: Discount factor of the generator, not used.
    :param reward_kwargs: Keyword arguments of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`, whose output is
        logit D.
    :param reward: Reward of the generator: "softplus", -ln(1 - D) >= 0; "logit", ln D - ln(1 - D), of either sign; or
        "log", ln D <= 0.
    :param kwargs: Keyword arguments of :class:`~ardae_rl.irl.discriminator.TransitionDiscriminator`.
    :raises ValueError: For arguments out of range.
    """

    needs_density: ClassVar[bool] = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        gamma: float,
        reward_kwargs: dict[str, Any],
        reward: str = "softplus",
        **kwargs: Any,
    ) -> None:
        super().__init__(BasicRewardNet(observation_space, action_space, **reward_kwargs), **kwargs)
        check_choice("reward", reward, REWARDS)
        self.reward_form = reward

    @th.no_grad()
    def reward(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        return self.generator_reward(self.reward_net(*transitions)) / self.reward_scale

    def generator_reward(self, outputs: th.Tensor) -> th.Tensor:
        return REWARDS[self.reward_form](outputs)


class GAIL(AdversarialIRL):
    """Generative adversarial imitation learning: any RL algorithm as generator maximizes -ln(1 - D), or another form.

    Reference: Ho and Ermon (2016), Generative adversarial imitation learning, https://arxiv.org/abs/1606.03476.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl import GAIL
    >>> from ardae_rl.irl import collect_demonstrations
    >>> expert = SAC("MlpPolicy", "Pendulum-v1")  # train it first
    >>> demos = collect_demonstrations(expert, gym.make("Pendulum-v1"), n_episodes=1)
    >>> model = GAIL("MlpPolicy", "Pendulum-v1", demos, generator="td3", n_disc_updates=5).learn(210)
    >>> action, _ = model.predict(model.get_env().reset())

    The arguments are those of :class:`~ardae_rl.irl.adversarial.AdversarialIRL`. ``reward_kwargs`` are keyword
    arguments of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`, whose output is logit D. ``discriminator_kwargs``
    are ``reward`` ("softplus", "logit" or "log") of :class:`GAILDiscriminator`, and ``n_recent``, ``source`` and
    ``regularization`` of :class:`~ardae_rl.irl.discriminator.TransitionDiscriminator`. Discriminator-actor-critic
    (Kostrikov et al. 2019, https://arxiv.org/abs/1809.02925) is ``reward="logit"``, ``source="replay"`` and
    ``regularization={"gradient_penalty": 10, "penalty_center": 1}``, in an environment with
    :class:`~ardae_envs.absorbing.AbsorbingState`.
    """

    discriminator_class: ClassVar[type[Discriminator[Any]]] = GAILDiscriminator
