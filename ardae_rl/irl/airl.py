"""Adversarial inverse reinforcement learning (Fu, Luo and Levine 2018)."""

from typing import Any, ClassVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ardae_rl.irl.adversarial import AdversarialIRL
from ardae_rl.irl.discriminator import Discriminator, TransitionDiscriminator
from ardae_rl.irl.reward_nets import ShapedRewardNet
from ardae_rl.irl.transitions import Transitions


class AIRLDiscriminator(TransitionDiscriminator):
    """Discriminator D = e^f / (e^f + q) of single transitions, with f = g + γ h(s') - h(s).

    q is the density of the generator's samples: the mixture of the policies that collected them.

    :param observation_space: Observation space of the environment.
    :param action_space: Action space of the environment.
    :param gamma: Discount factor of the generator.
    :param reward_kwargs: Keyword arguments of :class:`~ardae_rl.irl.reward_nets.ShapedRewardNet`; its ``gamma``
        defaults to the generator's.
    :param kwargs: Keyword arguments of :class:`~ardae_rl.irl.discriminator.TransitionDiscriminator`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        gamma: float,
        reward_kwargs: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ShapedRewardNet(observation_space, action_space, **({"gamma": gamma} | reward_kwargs)), **kwargs
        )

    @th.no_grad()
    def reward(self, transitions: Transitions, generator: BaseAlgorithm) -> th.Tensor:
        f: th.Tensor = self.reward_net(*transitions) / self.reward_scale
        return f - self.log_prob(transitions, generator) if isinstance(generator, OnPolicyAlgorithm) else f


class AIRL(AdversarialIRL):
    """Adversarial inverse reinforcement learning, with a discriminator D = e^f / (e^f + q) of single transitions.

    The reward network is f = g + γ h(s') - h(s), and q is the mixture of the policies that collected the samples. The
    generator maximizes f - ln π, which is ln D - ln(1 - D) for q = π: off-policy algorithms receive the reward f and
    add the entropy themselves, at a temperature of 1; on-policy algorithms receive the reward f - ln π.

    Reference: Fu, Luo and Levine (2018), Learning robust rewards with adversarial inverse reinforcement learning,
    https://arxiv.org/abs/1710.11248.

    Example:

    >>> import gymnasium as gym
    >>> from stable_baselines3 import SAC
    >>> from ardae_rl import AIRL
    >>> from ardae_rl.irl import collect_demonstrations
    >>> expert = SAC("MlpPolicy", "Pendulum-v1")  # train it first
    >>> demos = collect_demonstrations(expert, gym.make("Pendulum-v1"), n_episodes=1)
    >>> model = AIRL("MlpPolicy", "Pendulum-v1", demos, generator="sac", n_disc_updates=5).learn(210)
    >>> action, _ = model.predict(model.get_env().reset())

    The arguments are those of :class:`~ardae_rl.irl.adversarial.AdversarialIRL`. ``reward_kwargs`` are keyword
    arguments of :class:`~ardae_rl.irl.reward_nets.ShapedRewardNet`: ``inputs="state"`` learns a reward that transfers
    to other dynamics. ``discriminator_kwargs`` are ``n_recent``, ``source``, ``action_margin`` and ``regularization``
    of :class:`~ardae_rl.irl.discriminator.TransitionDiscriminator`.
    """

    discriminator_class: ClassVar[type[Discriminator[Any]]] = AIRLDiscriminator
