"""The arguments of ``load``, which change a saved trainer and its generator."""

import io
from collections import deque
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from ardae_rl.common.checks import check_keys
from ardae_rl.irl.generator import argument_names
from ardae_rl.irl.relabelling import relabelling_buffer

_DICTIONARIES = ("generator_kwargs", "reward_kwargs", "discriminator_kwargs")
_ATTRIBUTES = {"disc_learning_rate": "learning_rate", "stats_window_size": "_stats_window_size"}
_NOT_FOR_LOAD = {"policy", "env", "device", "_init_setup_model"}


def load_arguments(
    trainer: type[BaseAlgorithm], base: type[BaseAlgorithm], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the arguments of ``load`` into attributes for SB3's ``load``, and entries of ``*_kwargs`` to replace.

    :param trainer: Class of the saved model.
    :param base: The last base class whose constructor arguments are included.
    :param kwargs: Keyword arguments of ``load``.
    :raises ValueError: For an argument that the constructor does not have.
    """
    check_keys("kwargs", kwargs, sorted((argument_names(trainer, base) | {"learning_rate"}) - _NOT_FOR_LOAD))
    entries = {name: dict(kwargs[name] or {}) for name in _DICTIONARIES if name in kwargs}
    return {_ATTRIBUTES.get(name, name): kwargs[name] for name in kwargs.keys() - entries.keys()}, entries


def load_generator(
    generator_class: Any, state: bytes, env: VecEnv | None, trainer: BaseAlgorithm, changed: dict[str, Any]
) -> Any:
    """Return the generator of a saved trainer, with the trainer's seed. It continues from its last observations.

    :param generator_class: Its class.
    :param state: The bytes that its ``save`` wrote.
    :param env: Environment with the learned reward. Without one, an off-policy generator only acts, and has a replay
        buffer of one row.
    :param trainer: The trainer that is being loaded.
    :param changed: Arguments that differ from the saved ones.
    :raises ValueError: For an argument that the constructor does not have.
    """
    check_keys("generator_kwargs", changed, sorted(argument_names(generator_class, BaseAlgorithm)))
    window = trainer._stats_window_size
    attributes = changed | {"seed": trainer.seed, "_stats_window_size": window}
    if env is None and issubclass(generator_class, OffPolicyAlgorithm):
        buffer_class: Any = relabelling_buffer(None, trainer.observation_space)
        attributes["replay_buffer"] = buffer_class(1, trainer.observation_space, trainer.action_space, trainer.device)
    generator = generator_class.load(io.BytesIO(state), env, trainer.device, force_reset=False, **attributes)
    for name in ("ep_info_buffer", "ep_success_buffer"):
        setattr(generator, name, deque(getattr(generator, name) or (), window))
    return generator
