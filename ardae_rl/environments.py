"""Descriptions from which environments are re-created, in other processes and in other runs."""

import copy
import importlib
import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec, load_env_creator
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor, VecTransposeImage

from ardae_rl.common.records import plain, qualified_name
from ardae_rl.registry import environment_id

_NEUTRAL = (Monitor, PassiveEnvChecker, OrderEnforcing)  # wrappers that change nothing
_NEUTRAL_VEC = (VecMonitor, VecTransposeImage)
_NEUTRAL_NAMES = tuple(f"{wrapper.__module__}:{wrapper.__name__}" for wrapper in _NEUTRAL)
# By name, because rl_zoo3 replaces Gymnasium's class everywhere when it is imported
_ACTION_REPEAT = "ardae_envs.action_repeat:ActionRepeat"
_TIME_LIMIT, _TIME_LIMIT_NAMES = "gymnasium.wrappers:TimeLimit", ("TimeLimit", "PatchedTimeLimit")


@dataclass(frozen=True)
class EnvDescription:
    """An environment with everything that distinguishes it from others: id, arguments, time limits and wrappers.

    Its class is stored as well, so that the environment can be made in a process that does not register it.

    Example:

    >>> import gymnasium as gym
    >>> from ardae_rl.environments import EnvDescription
    >>> description = EnvDescription.of_env(gym.make("Pendulum-v1", g=5.0, max_episode_steps=30))
    >>> description
    Pendulum-v1(g=5.0, max_episode_steps=30)
    >>> description.make().unwrapped.g
    5.0

    :param spec: Gymnasium's spec of the environment without any wrapper.
    :param wrappers: Wrappers from the innermost one, time limits included.
    :param is_complete: Whether ``wrappers`` includes those that the environment's entry point adds itself.
    """

    spec: EnvSpec
    wrappers: tuple[WrapperSpec, ...] = ()
    is_complete: bool = True

    @classmethod
    def of_id(cls, env_id: str, kwargs: Mapping[str, Any] | None = None) -> "EnvDescription":
        """Describe what ``gymnasium.make(env_id, **kwargs)`` makes.

        :param env_id: Registered id, perhaps with a module to import: ``module:Id-v0``.
        :param kwargs: Arguments of the environment; ``max_episode_steps`` replaces its time limit.
        :raises ValueError: For an id that is not registered.
        """
        return cls.of_spec(spec_of_id(env_id, kwargs))

    @classmethod
    def of_spec(cls, spec: EnvSpec) -> "EnvDescription":
        """Describe what ``gymnasium.make(spec)`` makes."""
        limit = spec.max_episode_steps
        limits = [] if limit in (None, -1) else [_time_limit(limit)]
        return cls(_bare(spec), (*limits, *_additional_wrappers(spec)), is_complete=False)

    @classmethod
    def of_env(cls, env: gym.Env[Any, Any] | VecEnv) -> "EnvDescription | None":
        """Describe an environment; return None if its class is not registered with Gymnasium.

        :raises ValueError: For several environments that differ, or wrappers of SB3 that change the environment.
        """
        if isinstance(env, VecEnv):
            return cls._of_venv(env)
        inner = env.unwrapped
        if inner.spec is None:
            return None
        return cls(_bare(inner.spec), tuple(_wrapper_specs(env)))

    @classmethod
    def _of_venv(cls, venv: VecEnv) -> "EnvDescription | None":
        while isinstance(venv, VecEnvWrapper):
            if not isinstance(venv, _NEUTRAL_VEC):
                raise ValueError(
                    f"`env` must not have a vector wrapper, which cannot be re-created, got {type(venv).__name__}"
                )
            venv = venv.venv
        envs = getattr(venv, "envs", None)
        if envs is not None:
            found = [cls.of_env(env) for env in envs]
        else:  # in other processes, of which only Gymnasium's spec is known
            found = [None if spec is None else cls._of_remote(spec) for spec in venv.get_attr("spec")]
        first = found[0]
        for other in found[1:]:
            if (None if other is None else other.record()) != (None if first is None else first.record()):
                raise ValueError(f"`env` must be a vector of identical environments, got {first} and {other}")
        return first

    @classmethod
    def _of_remote(cls, spec: EnvSpec) -> "EnvDescription":
        names = [wrapper.name for wrapper in _additional_wrappers(spec)]
        if names and spec.max_episode_steps is not None:
            raise ValueError(
                "`env` must not combine a time limit with other wrappers in other processes, where their order is "
                f"unknown, got {', '.join(names)} and max_episode_steps={spec.max_episode_steps}; use a DummyVecEnv"
            )
        return cls.of_spec(spec)

    def make(self) -> gym.Env[Any, Any]:
        """Make the environment.

        :raises ValueError: If a wrapper cannot be re-created, because it does not record its arguments.
        """
        self.check()
        importlib.import_module("ardae_envs")
        env: gym.Env[Any, Any] = gym.make(self.spec)
        included = len(_wrapper_specs(env)) if self.is_complete else 0  # added by the environment's entry point itself
        for wrapper in self.wrappers[included:]:
            wrap: Any = load_env_creator(wrapper.entry_point)
            env = wrap(env=env, **copy.deepcopy(wrapper.kwargs or {}))
        return env

    def check(self) -> None:
        """Check that the environment can be re-created.

        :raises ValueError: If a wrapper does not record its arguments.
        """
        unknown = [wrapper.name for wrapper in self.wrappers if wrapper.kwargs is None]
        if unknown:
            raise ValueError(
                f"`env` must have wrappers that can be re-created, got {', '.join(unknown)}, which must inherit from "
                "gymnasium.utils.RecordConstructorArgs"
            )

    def substituted(self, env_id: str, **kwargs: Any) -> "EnvDescription":
        """Describe another environment with the arguments, time limits and wrappers of this one.

        :param env_id: Id of the other environment.
        :param kwargs: Further arguments of it.
        """
        spec = gym.spec(env_id)
        return replace(self, spec=_bare(_with_arguments(spec, {**spec.kwargs, **self._arguments(), **kwargs})))

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments that :meth:`of_id` needs besides the id; wrappers are left out."""
        spec = gym.registry.get(self.spec.id)
        registered = None if spec is None else spec.max_episode_steps
        defaults = {} if spec is None else spec.kwargs
        given = {
            name: value
            for name, value in self._arguments().items()
            if name not in defaults or plain(value) != plain(defaults[name])
        }
        limit = self.max_episode_steps
        return given if limit == registered else {**given, "max_episode_steps": limit}

    @property
    def max_episode_steps(self) -> int | None:
        """The shortest of the time limits; None if there is none."""
        kwargs = [wrapper.kwargs or {} for wrapper in self.wrappers if wrapper.entry_point == _TIME_LIMIT]
        return min((int(arguments["max_episode_steps"]) for arguments in kwargs), default=None)

    @property
    def longest_episode(self) -> int | None:
        """Number of steps of the longest episode, where a decision of an ActionRepeat is one; None if unlimited."""
        longest: int | None = None
        for wrapper in self.wrappers:
            arguments = wrapper.kwargs or {}
            if wrapper.entry_point == _TIME_LIMIT:
                limit = int(arguments["max_episode_steps"])
                longest = limit if longest is None else min(longest, limit)
            elif wrapper.entry_point == _ACTION_REPEAT and longest is not None:
                longest = math.ceil(longest / arguments["n"])
        return longest

    def record(self) -> dict[str, Any]:
        """Return everything as it is after a round trip through JSON, except the render mode, which changes nothing."""
        entry_point = self.spec.entry_point
        return {
            "id": self.spec.id,
            "entry_point": qualified_name(entry_point) if callable(entry_point) else entry_point,
            "kwargs": plain(self._arguments()),
            "wrappers": [[wrapper.entry_point, plain(wrapper.kwargs)] for wrapper in self.wrappers],
        }

    def __repr__(self) -> str:
        arguments = [f"{name}={value!r}" for name, value in self._arguments().items()]
        limits = [] if self.max_episode_steps is None else [f"max_episode_steps={self.max_episode_steps}"]
        names = [wrapper.name for wrapper in self.wrappers if wrapper.entry_point != _TIME_LIMIT]
        wrapped = f" in {', '.join(names)}" if names else ""
        return f"{self.spec.id}({', '.join(arguments + limits)}){wrapped}"

    def _arguments(self) -> dict[str, Any]:
        return {name: value for name, value in self.spec.kwargs.items() if name != "render_mode"}


def spec_of_id(env_id: str, kwargs: Mapping[str, Any] | None = None) -> EnvSpec:
    """Return the spec of what ``gymnasium.make(env_id, **kwargs)`` makes, see :meth:`EnvDescription.of_id`."""
    spec, arguments = copy.deepcopy(gym.spec(environment_id(env_id))), dict(kwargs or {})
    limit = arguments.pop("max_episode_steps", spec.max_episode_steps)
    spec.max_episode_steps = None if limit == -1 else limit  # -1 means None, but only as an argument of `make`
    return _with_arguments(spec, {**spec.kwargs, **arguments})


def env_record(env: gym.Env[Any, Any] | VecEnv | None) -> Any:
    """Return what identifies an environment: its description or, if it is not registered, the names of its classes.

    :return: None if there is no environment, or if it is not registered and in another process.
    """
    if env is None:
        return None
    description = EnvDescription.of_env(env)
    if description is not None:
        return description.record()
    if isinstance(env, VecEnv):
        envs = getattr(env.unwrapped, "envs", None)
        return None if envs is None else env_record(envs[0])
    names = []
    while isinstance(env, gym.Wrapper):
        if not isinstance(env, _NEUTRAL):
            names.append(qualified_name(type(env)))
        env = env.env
    return [*names, qualified_name(type(env))]


def _with_arguments(spec: EnvSpec, kwargs: dict[str, Any]) -> EnvSpec:
    changed = copy.deepcopy(spec)
    changed.kwargs = kwargs
    return changed


def _bare(spec: EnvSpec) -> EnvSpec:
    """Return the spec without the wrappers that ``gymnasium.make`` would add, and without a window."""
    kwargs = {name: value for name, value in spec.kwargs.items() if (name, value) != ("render_mode", "human")}
    bare = _with_arguments(spec, copy.deepcopy(kwargs))
    bare.max_episode_steps, bare.order_enforce, bare.disable_env_checker = None, False, True
    bare.additional_wrappers = ()
    return bare


def _additional_wrappers(spec: EnvSpec) -> list[WrapperSpec]:
    """Return the wrappers of a spec, without those that change nothing."""
    return [wrapper for wrapper in spec.additional_wrappers if wrapper.entry_point not in _NEUTRAL_NAMES]


def _time_limit(max_episode_steps: int | None) -> WrapperSpec:
    return WrapperSpec("TimeLimit", _TIME_LIMIT, {"max_episode_steps": max_episode_steps})


def _wrapper_specs(env: gym.Env[Any, Any]) -> list[WrapperSpec]:
    """Return the wrappers of an environment from the innermost one, without those that change nothing."""
    specs = []
    while isinstance(env, gym.Wrapper):
        cls = type(env)
        if cls.__name__ in _TIME_LIMIT_NAMES:
            specs.append(_time_limit(env._max_episode_steps))  # type: ignore[attr-defined]
        elif not isinstance(env, _NEUTRAL):
            entry_point = f"{cls.__module__}:{cls.__name__}"
            specs.append(WrapperSpec(cls.__name__, entry_point, _constructor_arguments(env, cls)))
        env = env.env
    return specs[::-1]


def _constructor_arguments(
    wrapper: gym.Wrapper[Any, Any, Any, Any], cls: type[gym.Wrapper[Any, Any, Any, Any]]
) -> dict[str, Any] | None:
    """Return the arguments with which a class makes a wrapper like this one; None if they are not all recorded."""
    importable = getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
    if not importable or not isinstance(wrapper, RecordConstructorArgs):
        return None
    saved = {name: value for name, value in wrapper._saved_kwargs.items() if name != "env"}
    parameters = inspect.signature(cls.__init__).parameters.values()
    named = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self", "env"}
    # A subclass can have arguments that the recording base class does not know; Gymnasium's own classes have none
    complete = cls.__module__.startswith("gymnasium.") or named == saved.keys()
    return saved if complete else None
