"""Models of the algorithms that experiments compare."""

import copy
from typing import Any

import gymnasium as gym
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl.registry import algorithm_class


def make_model(algo: str, env: str | gym.Env[Any, Any], **arguments: Any) -> OffPolicyAlgorithm:
    """Return a model with an MLP policy, on the CPU unless ``device`` is given.

    :param algo: Name of the algorithm in the registry, such as "sac_ardae".
    """
    cls: Any = algorithm_class(algo)
    # Copied because SB3 adds entries to the policy_kwargs that it is given, and the caller's are recorded
    model: OffPolicyAlgorithm = cls("MlpPolicy", env, **{"device": "cpu"} | copy.deepcopy(arguments))
    return model
