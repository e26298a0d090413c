"""Generative adversarial imitation learning (Ho and Ermon 2016), the baseline without a reward to keep."""

from typing import ClassVar

import torch as th
from torch.nn import functional as F

from ardae_rl.irl.relabelling import Transitions
from ardae_rl.irl.reward_nets import BasicRewardNet
from ardae_rl.irl.stepwise import StepwiseIRL


class GAIL(StepwiseIRL):
    """D of state and action without a form: the generator, of any kind, gets -ln(1 - D), and imitates.

    Reference: Ho and Ermon (2016), Generative adversarial imitation learning, https://arxiv.org/abs/1606.03476. See
    :class:`~ardae_rl.irl.stepwise.StepwiseIRL` for the arguments.

    :param reward_kwargs: of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`, whose output is logit D
    """

    needs_density: ClassVar[bool] = False
    reward_net: BasicRewardNet

    def _make_reward_net(self) -> BasicRewardNet:
        return BasicRewardNet(self.observation_space, self.action_space, **self.reward_kwargs)

    def logits(self, transitions: Transitions) -> th.Tensor:
        logits: th.Tensor = self.reward_net(*transitions)
        return logits

    @th.no_grad()
    def reward(self, transitions: Transitions) -> th.Tensor:
        return F.softplus(self.logits(transitions))
