"""The names of algorithms and environments that users type, and the errors for unknown ones."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm

from ardae_rl.common.checks import check_choice, close_matches
from ardae_rl.common.optional import require


@dataclass(frozen=True)
class Algorithm:
    """What the ``ardae-rl`` command knows about an algorithm.

    Example:

    >>> from ardae_rl.registry import ALGORITHMS
    >>> ALGORITHMS["sac_ardae"].load().__name__
    'SACARDAE'

    :param path: Path of the class, as ``module:Class``.
    :param requires: Optional module without which the class cannot be imported, and the extra that installs it.
    :param needs_demonstrations: Whether the algorithm learns from demonstrations.
    :param search_space: Module with the functions ``sample`` and ``convert`` of RL Zoo's hyper-parameter search.
    :param after_training: Function that draws plots of a trained model into the folder of its run, as
        ``module:function``. It takes the model, the id of the environment, the folder and the environment's arguments,
        and returns the files.
    """

    path: str
    requires: tuple[str, str] | None = None
    needs_demonstrations: bool = False
    search_space: str | None = None
    after_training: str | None = None

    def load(self) -> type[BaseAlgorithm]:
        """Return the class.

        :raises ImportError: If the module that it requires is not installed.
        """
        if self.requires is not None:
            require(*self.requires)
        algorithm: type[BaseAlgorithm] = imported(self.path)
        return algorithm


OUR_ALGORITHMS = {
    "sac_ardae": Algorithm("ardae_rl.sac_ardae:SACARDAE", search_space="ardae_rl.sac_ardae.search_space"),
    "sac_gaussian": Algorithm("ardae_rl.sac_gaussian:SACGaussian", search_space="ardae_rl.sac_gaussian.search_space"),
    "sac_nf": Algorithm("ardae_rl.sac_nf:SACNF", search_space="ardae_rl.sac_nf.search_space"),
    "world_models": Algorithm("ardae_rl.world_models:WorldModels"),
    "e2c": Algorithm("ardae_rl.e2c:E2C", after_training="ardae_rl.e2c.plots:draw_run"),
    "dvbf": Algorithm("ardae_rl.dvbf:DVBF"),
    "airl": Algorithm("ardae_rl.irl:AIRL", needs_demonstrations=True),
    "gail": Algorithm("ardae_rl.irl:GAIL", needs_demonstrations=True),
    "gan_gcl": Algorithm("ardae_rl.irl:GANGCL", needs_demonstrations=True),
    "bc": Algorithm("ardae_rl.irl:BC", needs_demonstrations=True),
    "sqil": Algorithm("ardae_rl.irl:SQIL", needs_demonstrations=True),
}
_CONTRIB = ("sb3_contrib", "zoo")
# RL Zoo's names. Its own table is not read here, because importing rl_zoo3 replaces Gymnasium's TimeLimit
# in the whole process, and `evaluate` promises the unmodified environment.
STOCK_ALGORITHMS = {
    "a2c": Algorithm("stable_baselines3:A2C"),
    "ars": Algorithm("sb3_contrib:ARS", _CONTRIB),
    "crossq": Algorithm("sb3_contrib:CrossQ", _CONTRIB),
    "ddpg": Algorithm("stable_baselines3:DDPG"),
    "dqn": Algorithm("stable_baselines3:DQN"),
    "ppo": Algorithm("stable_baselines3:PPO"),
    "ppo_lstm": Algorithm("sb3_contrib:RecurrentPPO", _CONTRIB),
    "qrdqn": Algorithm("sb3_contrib:QRDQN", _CONTRIB),
    "sac": Algorithm("stable_baselines3:SAC"),
    "td3": Algorithm("stable_baselines3:TD3"),
    "tqc": Algorithm("sb3_contrib:TQC", _CONTRIB),
    "trpo": Algorithm("sb3_contrib:TRPO", _CONTRIB),
}
ALGORITHMS = OUR_ALGORITHMS | STOCK_ALGORITHMS
# Their policies are SB3's, so only the attribute `algorithm` of a saved model identifies the algorithm that trained it
NAMED_IN_MODELS = ("bc", "sqil")


def algorithm_class(algo: str, argument: str = "algo") -> type[BaseAlgorithm]:
    """Return the class behind a name such as ``"sac_ardae"`` or ``"ppo"``.

    :param algo: The name.
    :param argument: Name of the caller's argument, for the error message.
    :raises ValueError: For an unknown name.
    :raises ImportError: For an algorithm of sb3-contrib if that is not installed.
    """
    check_choice(argument, algo, sorted(ALGORITHMS))
    return ALGORITHMS[algo].load()


def imported(path: str) -> Any:
    """Return the object at ``module:name``."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def environment_id(env_id: str) -> str:
    """Return the registered id. For the form ``module:Id-v0``, the module is imported first.

    :raises ValueError: For an id that is not registered, naming close matches.
    """
    importlib.import_module("ardae_envs")  # registers the ardae/ environments
    module_name, _, registered_id = env_id.rpartition(":")
    if module_name:
        try:
            importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ValueError(f"`env_id` must start with a module to import, got {env_id!r}: {error}") from error
    if registered_id not in gym.registry:
        hint = close_matches(_similar_ids(registered_id))
        raise ValueError(f"`env_id` must be registered with Gymnasium, got {env_id!r}{hint}")
    return registered_id


def folder_name(env_id: str) -> str:
    """Return the name that RL Zoo gives to an environment's folders, without the slash of a namespace."""
    return env_id.replace("/", "-")


def _similar_ids(env_id: str) -> list[str]:
    """Return the registered ids that resemble ``env_id``, ignoring case and namespaces."""
    by_key: dict[str, str] = {}
    for registered in gym.registry:
        by_key.setdefault(registered.lower().split("/")[-1], registered)
    keys = difflib.get_close_matches(env_id.lower().split("/")[-1], by_key, n=3, cutoff=0.7)
    return [by_key[key] for key in keys]
