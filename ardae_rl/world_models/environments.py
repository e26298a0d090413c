"""The environments for collection and search in World Models: how they are chosen, made and identified."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym

from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.common.records import qualified_name
from ardae_rl.environments import EnvDescription

MakeEnv = Callable[[], gym.Env[Any, Any]]
Source = EnvDescription | MakeEnv  # of environments

# Default substitutes, which render the same frames faster; for collection, episodes start anywhere on the track
COLLECTION_ENVS = {"CarRacing-v3": "ardae/CarRacingRandomStart-v0"}
SEARCH_ENVS = {"CarRacing-v3": "ardae/CarRacingFast-v0"}


def make_repeating(env: str | Source, action_repeat: int) -> gym.Env[Any, Any]:
    """Make an environment in which one step is one decision: an action is held for ``action_repeat`` steps.

    :param env: Id or description of the environment, or a function that makes it.
    :param action_repeat: Number of steps for which each action is held.
    """
    made = _source(env)
    result = made.make() if isinstance(made, EnvDescription) else made()
    return ActionRepeat(result, action_repeat) if action_repeat > 1 else result


def resolve(
    env: str | MakeEnv | None, default: EnvDescription | None, substitutes: dict[str, str], argument: str
) -> Source:
    """Return the environment that ``env`` names or, if it is None, the default or its substitute.

    :param default: Description of the algorithm's environment; None if it is not registered.
    :param substitutes: Ids of environments that replace others, by their ids.
    :param argument: Name of the argument that sets ``env``, for the error message.
    :raises ValueError: If there is no environment, or if it cannot be recreated.
    """
    if env is not None:
        try:
            return _source(env)
        except ValueError as error:
            raise ValueError(str(error).replace("`env_id`", f"`{argument}`")) from error
    if default is None:
        raise ValueError(f"`{argument}` must be given for an `env` that is not registered, got None")
    try:
        default.check()
    except ValueError as error:
        raise ValueError(f"`{argument}` must be given, got None; {error}") from error
    substitute = substitutes.get(default.spec.id)
    if substitute is None:
        return default
    from ardae_envs.car_racing_fast import unverified_version  # imported here, because other environments need no Box2D

    problem = unverified_version()
    if problem is None:
        return default.substituted(substitute)
    warnings.warn(f"using the slower official renderer: the fast one is unverified with {problem}", stacklevel=2)
    return (
        default if substitute == SEARCH_ENVS["CarRacing-v3"] else default.substituted(substitute, renderer="official")
    )


def env_maker(env: Source, action_repeat: int) -> MakeEnv:
    """Return a function that makes an environment in which a step is a decision; picklable if ``env`` is."""
    return partial(make_repeating, env, action_repeat)


def env_identity(env: str | Source) -> Any:
    """Return the identity of an environment: its description, or the qualified name of the function that makes it."""
    source = _source(env)
    return source.record() if isinstance(source, EnvDescription) else qualified_name(source)


def _source(env: str | Source) -> Source:
    return EnvDescription.of_id(env) if isinstance(env, str) else env
