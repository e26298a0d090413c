"""The names that users type: algorithms and environments, and what to say when one is unknown."""

from __future__ import annotations

import difflib
import importlib

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.common.optional import require

OUR_ALGORITHMS = {
    "sac_ardae": "ardae_rl.sac_ardae:SACARDAE",
    "sac_nf": "ardae_rl.sac_nf:SACNF",
    "world_models": "ardae_rl.world_models:WorldModels",
    "e2c": "ardae_rl.e2c:E2C",
    "dvbf": "ardae_rl.dvbf:DVBF",
    "airl": "ardae_rl.irl:AIRL",
    "gail": "ardae_rl.irl:GAIL",
    "gan_gcl": "ardae_rl.irl:GANGCL",
}

# What draws plots of a trained model into its folder: a function of (model, environment id, folder).
AFTER_TRAINING = {"e2c": "ardae_rl.e2c.plots:draw_run"}

# RL Zoo's names. Its own table is not read here, because importing rl_zoo3 replaces Gymnasium's TimeLimit
# in the whole process, and `evaluate` promises the unmodified environment.
STOCK_ALGORITHMS = {
    "a2c": "stable_baselines3:A2C",
    "ars": "sb3_contrib:ARS",
    "crossq": "sb3_contrib:CrossQ",
    "ddpg": "stable_baselines3:DDPG",
    "dqn": "stable_baselines3:DQN",
    "ppo": "stable_baselines3:PPO",
    "ppo_lstm": "sb3_contrib:RecurrentPPO",
    "qrdqn": "sb3_contrib:QRDQN",
    "sac": "stable_baselines3:SAC",
    "td3": "stable_baselines3:TD3",
    "tqc": "sb3_contrib:TQC",
    "trpo": "sb3_contrib:TRPO",
}
ALGORITHMS = OUR_ALGORITHMS | STOCK_ALGORITHMS


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The class behind a name such as ``"sac_ardae"`` or ``"ppo"``.

    :raises ValueError: for an unknown name, listing those accepted
    :raises ImportError: for an algorithm of sb3-contrib when that is not installed
    """
    if name not in ALGORITHMS:
        raise ValueError(f"--algo: unknown algorithm {name!r}; accepted: {', '.join(sorted(ALGORITHMS))}")
    module_name, class_name = ALGORITHMS[name].split(":")
    if module_name == "sb3_contrib":
        require("sb3_contrib", "zoo")
    algorithm: type[BaseAlgorithm] = getattr(importlib.import_module(module_name), class_name)
    return algorithm


def environment_id(name: str) -> str:
    """The registered id for ``name``, importing the module first when it has the form ``module:Id-v0``.

    :raises ValueError: for an id that is not registered, listing close matches
    """
    importlib.import_module("ardae_envs")  # registers the ardae/ environments
    module_name, _, env_id = name.rpartition(":")
    if module_name:
        try:
            importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ValueError(f"--env: cannot import {module_name!r} of {name!r}: {error}") from error
    if env_id not in gym.registry:
        matches = _close_matches(env_id)
        accepted = (
            f"close matches: {', '.join(matches)}" if matches else "accepted: an id that Gymnasium has registered"
        )
        raise ValueError(f"--env: unknown environment {name!r}; {accepted}")
    return env_id


def _close_matches(env_id: str) -> list[str]:
    """Registered ids that resemble ``env_id``, upper and lower case and a missing namespace forgiven."""
    by_key: dict[str, str] = {}
    for registered in gym.registry:
        by_key.setdefault(registered.lower().split("/")[-1], registered)
    keys = difflib.get_close_matches(env_id.lower().split("/")[-1], by_key, n=3, cutoff=0.7)
    return [by_key[key] for key in keys]
