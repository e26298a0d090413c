"""Adversarial inverse reinforcement learning (Fu, Luo and Levine 2018)."""

from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from ardae_rl.irl.adversarial import Demonstrations
from ardae_rl.irl.relabelling import Transitions
from ardae_rl.irl.reward_nets import ShapedRewardNet
from ardae_rl.irl.stepwise import StepwiseIRL


class AIRL(StepwiseIRL):
    """D = e^f / (e^f + π) of single transitions, with f = g + γ h(s') - h(s).

    Reference: Fu, Luo and Levine (2018), Learning robust rewards with adversarial inverse reinforcement learning,
    https://arxiv.org/abs/1710.11248. The generator maximises ln D - ln(1 - D) = f - ln π: off-policy algorithms get the
    reward f, and the entropy by their temperature 1; on-policy ones get f - ln π. See
    :class:`~ardae_rl.irl.adversarial.AdversarialIRL` for the arguments that are not named here.

    :param reward_inputs: of g: "state_action", or "state" for a reward that holds under other dynamics
    :param reward_kwargs: further arguments of :class:`~ardae_rl.irl.reward_nets.ShapedRewardNet`; its γ is by default
        the generator's
    """

    reward_net: ShapedRewardNet

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
        action_margin: float = 0.01,
        reward_inputs: str = "state_action",
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
            action_margin=action_margin,
            reward_kwargs=reward_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
        )
        self.reward_inputs = reward_inputs
        if _init_setup_model:
            self._setup_model()

    def _make_reward_net(self) -> ShapedRewardNet:
        gamma = self.generator_kwargs.get("gamma", 0.99)
        arguments = {"inputs": self.reward_inputs, "gamma": gamma} | self.reward_kwargs
        return ShapedRewardNet(self.observation_space, self.action_space, **arguments)

    def logits(self, transitions: Transitions) -> th.Tensor:
        return self.reward_net(*transitions) - self._log_prob(transitions)

    @th.no_grad()
    def reward(self, transitions: Transitions) -> th.Tensor:
        f: th.Tensor = self.reward_net(*transitions)
        return f if isinstance(self.generator, OffPolicyAlgorithm) else f - self._log_prob(transitions)
