"""Tensors are created on the policy's device, here "meta", whose tensors cannot be combined with others."""

import gymnasium as gym
import numpy as np
import torch as th

from ardae_rl.world_models import WorldModelPolicy
from ardae_rl.world_models.dream import Dream


def test_latents_and_dreams_are_on_the_policy_s_device() -> None:
    env = gym.make("CarRacing-v3")
    policy = WorldModelPolicy(env.observation_space, env.action_space, z_dim=4, vision_width=4, memory_hidden=8)
    policy.to("meta")
    z, start = policy.latents(np.zeros((2, 96, 96, 3), np.uint8)), np.ones(2, bool)
    memory = policy.memory_state((np.zeros((2, 8)), np.zeros((2, 8))), start, 2)
    dreamed = Dream(policy, (th.zeros(3, 4), th.zeros(3, 4))).begin([th.Generator(), th.Generator()])
    remembered = policy.remember(dreamed.z, np.zeros((2, 3), np.float32), dreamed.memory)
    for tensor in (z, *memory, policy.features(z, memory), dreamed.z, *dreamed.memory, *remembered):
        assert tensor.device == policy.device == th.device("meta")
