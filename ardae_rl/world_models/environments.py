"""The environments in which World Models collects and searches: which ones, made how, and what identifies them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

import ardae_envs  # noqa: F401 (registers environments)
from ardae_envs.action_repeat import ActionRepeat
from ardae_rl.world_models.resume import plain, qualified_name

MakeEnv = Callable[[], gym.Env[Any, Any]]

# Default substitutes, which render the same frames faster; the one for collection starts anywhere on the track
COLLECTION_ENVS = {"CarRacing-v3": "ardae/CarRacingRandomStart-v0"}
SEARCH_ENVS = {"CarRacing-v3": "ardae/CarRacingFast-v0"}


def make_repeating(env: str | MakeEnv, action_repeat: int) -> gym.Env[Any, Any]:
    """Make an environment in which a step is a decision of the policy.

    :param env: Id of the environment, or a function that makes it.
    :param action_repeat: Number of steps for which each action is held.
    """
    made = env() if callable(env) else gym.make(env)
    return ActionRepeat(made, action_repeat) if action_repeat > 1 else made


def resolve(env: str | MakeEnv | None, spec: EnvSpec | None, substitutes: dict[str, str]) -> str | MakeEnv | None:
    """Return ``env``, or if it is None, the substitute for the algorithm's environment, or that environment's id.

    :param spec: Spec of the algorithm's environment; None if it is not registered.
    :return: None if there is neither an environment nor a spec.
    """
    if env is not None or spec is None:
        return env
    return substitutes.get(spec.id, spec.id)


def env_maker(env: str | MakeEnv | None, action_repeat: int, argument: str) -> MakeEnv:
    """Return a function that makes an environment in which a step is a decision; picklable if ``env`` is.

    :param argument: Name of the argument that sets ``env``, for the error message.
    :raises ValueError: If there is no environment.
    """
    if env is None:
        raise ValueError(f"`{argument}` must be given for an `env` that is not registered, got None")
    return partial(make_repeating, env, action_repeat)


def env_identity(env: str | MakeEnv | EnvSpec | None) -> Any:
    """Return what tells environments apart: the id with arguments and limit, or the maker's qualified name.

    The render mode is left out, as it does not change an environment.
    """
    if isinstance(env, EnvSpec):
        kwargs = {name: plain(value) for name, value in env.kwargs.items() if name != "render_mode"}
        return {"id": env.id, "kwargs": kwargs, "max_episode_steps": env.max_episode_steps}
    return qualified_name(env) if callable(env) else env
