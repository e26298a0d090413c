"""Models of the algorithms that experiments compare, and variants of their arguments."""

import copy
from collections.abc import Mapping
from typing import Any

import yaml
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from ardae_rl.registry import algorithm_class


def make_model(algo: str, env: str | GymEnv, **arguments: Any) -> OffPolicyAlgorithm:
    """Return a model with an MLP policy, on the CPU unless ``device`` is given.

    :param algo: Name of the algorithm in the registry, such as "sac_ardae".
    """
    cls: Any = algorithm_class(algo)
    # Copied because SB3 adds entries to the policy_kwargs that it is given, and the caller records its own
    model: OffPolicyAlgorithm = cls("MlpPolicy", env, **{"device": "cpu"} | copy.deepcopy(arguments))
    return model


def variant_arguments(variant: str, arguments: str) -> dict[str, Any]:
    """Return the arguments of a variant, which replace an algorithm's defaults.

    :param variant: Name of the variant; "default" has no arguments.
    :param arguments: A mapping in YAML.
    """
    parsed = yaml.safe_load(arguments)
    if not isinstance(parsed, Mapping):
        raise ValueError(f"`arguments` must be a mapping in YAML, got {arguments!r}")
    if parsed and variant == "default":
        raise ValueError("`variant` must name the runs that have `arguments`, got 'default'")
    return dict(parsed)
