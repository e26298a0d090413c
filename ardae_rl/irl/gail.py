"""Generative adversarial imitation learning (Ho and Ermon 2016), the baseline without a reward to keep."""

from typing import Any, ClassVar

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch.nn import functional as F

from ardae_rl.irl.adversarial import Demonstrations
from ardae_rl.irl.relabelling import Transitions
from ardae_rl.irl.reward_nets import BasicRewardNet
from ardae_rl.irl.stepwise import StepwiseIRL


class GAIL(StepwiseIRL):
    """D of state and action without a form: the generator, of any kind, gets -ln(1 - D), and imitates.

    Reference: Ho and Ermon (2016), Generative adversarial imitation learning, https://arxiv.org/abs/1606.03476. See
    :class:`~ardae_rl.irl.adversarial.AdversarialIRL` for the arguments.

    :param reward_kwargs: of :class:`~ardae_rl.irl.reward_nets.BasicRewardNet`, whose output is logit D
    """

    needs_density: ClassVar[bool] = False
    reward_net: BasicRewardNet

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        demonstrations: Demonstrations | None = None,
        generator: str | type[BaseAlgorithm] = "sac",
        generator_kwargs: dict[str, Any] | None = None,
        learning_rate: float | Schedule = 3e-4,
        batch_size: int = 256,
        n_steps: int = 200,
        gradient_steps: int = 50,
        n_recent: int = 2000,
        weight_decay: float = 0.0,
        reward_kwargs: dict[str, Any] | None = None,
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
            demonstrations,
            generator,
            generator_kwargs,
            learning_rate,
            batch_size=batch_size,
            n_steps=n_steps,
            gradient_steps=gradient_steps,
            n_recent=n_recent,
            weight_decay=weight_decay,
            action_margin=0.01,  # no density is asked for
            reward_kwargs=reward_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        if _init_setup_model:
            self._setup_model()

    def _make_reward_net(self) -> BasicRewardNet:
        return BasicRewardNet(self.observation_space, self.action_space, **self.reward_kwargs)

    def logits(self, transitions: Transitions) -> th.Tensor:
        logits: th.Tensor = self.reward_net(*transitions)
        return logits

    @th.no_grad()
    def reward(self, transitions: Transitions) -> th.Tensor:
        return F.softplus(self.logits(transitions))
