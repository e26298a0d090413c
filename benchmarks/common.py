"""What the benchmarks share: folders, and the algorithms that they compare."""

import copy
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from ardae_rl import registry

RESULTS = Path(__file__).parent / "results"  # committed
RUNS = Path("runs")  # models and logs; ignored by git

ALGORITHMS = ("sac", "sac_ardae")  # what the comparisons compare, by the names of `ardae_rl.registry`
LABELS = {"sac": "SAC (SB3)", "sac_ardae": "SAC-AR-DAE"}
COLOURS = {"sac": "#c0562b", "sac_ardae": "#23629f"}


def make_model(name: str, env: str | gym.Env[Any, Any], **arguments: Any) -> OffPolicyAlgorithm:
    """A model with an MLP policy, on the CPU unless told otherwise."""
    cls: Any = registry.algorithm_class(name)
    # Copied because SB3 adds entries to the policy_kwargs that it is given, and the caller's are recorded.
    model: OffPolicyAlgorithm = cls("MlpPolicy", env, **{"device": "cpu"} | copy.deepcopy(arguments))
    return model


def algorithm_names(text: str) -> list[str]:
    """Split "sac,sac_ardae" and check each name (the type of an argparse option)."""
    names = text.split(",")
    for name in names:
        if name not in ALGORITHMS:  # argparse would show a ValueError without its text
            raise ArgumentTypeError(f"{name!r}: accepted are {', '.join(ALGORITHMS)}, separated by commas")
    return names
