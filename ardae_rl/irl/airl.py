"""Adversarial inverse reinforcement learning (Fu, Luo and Levine 2018)."""

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.irl.relabelling import Transitions
from ardae_rl.irl.reward_nets import ShapedRewardNet
from ardae_rl.irl.stepwise import StepwiseIRL


class AIRL(StepwiseIRL):
    """D = e^f / (e^f + π) of single transitions, with f = g + γ h(s') - h(s).

    Reference: Fu, Luo and Levine (2018), Learning robust rewards with adversarial inverse reinforcement learning,
    https://arxiv.org/abs/1710.11248. The generator maximises ln D - ln(1 - D) = f - ln π: off-policy algorithms get the
    reward f, and the entropy by their temperature 1; on-policy ones get f - ln π. See
    :class:`~ardae_rl.irl.stepwise.StepwiseIRL` for the arguments that are not named here.

    :param reward_kwargs: of :class:`~ardae_rl.irl.reward_nets.ShapedRewardNet`: ``inputs="state"`` for a reward that
        holds under other dynamics. Its γ is by default the generator's
    """

    reward_net: ShapedRewardNet

    def _make_reward_net(self) -> ShapedRewardNet:
        gamma = self.generator_kwargs.get("gamma", 0.99)
        return ShapedRewardNet(self.observation_space, self.action_space, **({"gamma": gamma} | self.reward_kwargs))

    def logits(self, transitions: Transitions) -> th.Tensor:
        return self.reward_net(*transitions) - self._log_prob(transitions)

    @th.no_grad()
    def reward(self, transitions: Transitions) -> th.Tensor:
        f: th.Tensor = self.reward_net(*transitions)
        return f if isinstance(self.generator, OffPolicyAlgorithm) else f - self._log_prob(transitions)
