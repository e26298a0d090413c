"""Arguments and checks of the generator, the SB3 algorithm that maximizes a learned reward."""

import inspect
import warnings
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy

from ardae_rl.common.checks import check_choice
from ardae_rl.irl.relabelling import relabelling_buffer
from ardae_rl.registry import algorithm_class

_ARGUMENTS_OF_TRAINER = (
    "policy",
    "env",
    "policy_kwargs",
    "stats_window_size",
    "tensorboard_log",
    "verbose",
    "seed",
    "device",
    "_init_setup_model",
)


def generator_class_of(generator: str | type[BaseAlgorithm]) -> Any:
    """Return the class of a generator.

    :param generator: An algorithm, or its name in RL Zoo, such as "sac".
    :raises ValueError: For an unknown name.
    """
    return algorithm_class(generator, "generator") if isinstance(generator, str) else generator


def argument_names(algorithm: type[Any], base: type[Any]) -> set[str]:
    """Return the argument names of an algorithm's constructor, including those it may pass on to its base classes.

    :param base: The last base class to include.
    """
    classes = [cls for cls in algorithm.__mro__ if issubclass(cls, base)]
    parameters = [part for cls in classes for part in inspect.signature(cls).parameters.values()]
    return {part.name for part in parameters if part.kind not in (part.VAR_POSITIONAL, part.VAR_KEYWORD)}


def default_argument(algorithm: type[Any], name: str, otherwise: Any) -> Any:
    """Return the default of a constructor's argument, which its class may have left to a base class."""
    for cls in algorithm.__mro__:
        parameter = inspect.signature(cls).parameters.get(name)
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    return otherwise


def check_same_generator(generator: str | type[BaseAlgorithm] | None, saved: type[BaseAlgorithm]) -> None:
    """Check the generator that is given when a model is loaded.

    :param generator: An algorithm, or its name; None if it is not given.
    :param saved: Class of the saved generator.
    :raises ValueError: If its class is not ``saved``.
    """
    if generator is not None and generator_class_of(generator) is not saved:
        raise ValueError(f"`generator` must be {saved.__name__}, as in the saved model, got {generator!r}")


def policy_class_of(generator_class: type[BaseAlgorithm], policy: str | type[BasePolicy]) -> type[BasePolicy]:
    """Return the policy class of a generator.

    :param policy: A class, or one of the generator's names, such as "MlpPolicy".
    :raises ValueError: For a name that the generator does not know.
    """
    if not isinstance(policy, str):
        return policy
    check_choice("policy", policy, generator_class.policy_aliases)
    return generator_class.policy_aliases[policy]


def generator_arguments(
    generator_class: Any,
    generator_kwargs: dict[str, Any],
    observation_space: spaces.Space[Any],
    needs_density: bool,
) -> dict[str, Any]:
    """Return the generator's keyword arguments, with a relabelling buffer and the entropy coefficient of MaxEnt IRL.

    :param needs_density: Whether the discriminator uses ln π, so that the learned reward assumes a temperature of 1.
    :raises ValueError: For an algorithm, a replay buffer or n-step returns that do not work with learned rewards, for
        action noise if ln π is used, and for arguments that belong to the trainer.
    """
    arguments = dict(generator_kwargs)
    for name in _ARGUMENTS_OF_TRAINER:
        if name in arguments:
            raise ValueError(f"`generator_kwargs` must not have {name!r}, which must be passed to the trainer itself")
    is_off_policy = issubclass(generator_class, OffPolicyAlgorithm)
    if needs_density and arguments.get("action_noise") is not None:
        raise ValueError(
            "`generator_kwargs['action_noise']` must be None, because the policy's density does not include the noise, "
            f"got {arguments['action_noise']!r}"
        )
    if is_off_policy:
        if arguments.get("n_steps", 1) != 1:
            raise ValueError(f"`generator_kwargs['n_steps']` must be 1, got {arguments['n_steps']!r}")
        buffer_class = arguments.get("replay_buffer_class")
        arguments["replay_buffer_class"] = relabelling_buffer(buffer_class, observation_space)
    elif not issubclass(generator_class, OnPolicyAlgorithm):
        raise ValueError(f"`generator` must be a gradient-based algorithm, got {generator_class.__name__}")
    elif "MlpLstmPolicy" in generator_class.policy_aliases:
        name = generator_class.__name__
        raise ValueError(f"`generator` must be an algorithm without a recurrent policy, got {name}")
    if needs_density and "ent_coef" in argument_names(generator_class, BaseAlgorithm):
        ent_coef = 1.0 if is_off_policy else 0.0
        if arguments.setdefault("ent_coef", ent_coef) != ent_coef:
            warnings.warn(
                f"`generator_kwargs['ent_coef']` is {arguments['ent_coef']!r}, but the learned reward assumes a "
                f"generator that maximizes reward plus entropy, which needs ent_coef={ent_coef}",
                stacklevel=5,
            )
    return arguments


def acts_randomly(generator: BaseAlgorithm) -> bool:
    """Return whether the generator currently takes uniformly random actions, as off-policy algorithms do at first."""
    if not isinstance(generator, OffPolicyAlgorithm):
        return False
    uses_policy = generator.use_sde and generator.use_sde_at_warmup
    return generator.num_timesteps < generator.learning_starts and not uses_policy
