"""The environment of a benchmark's run: the run's folder keeps its whole description, not only its id."""

from itertools import chain
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium import spaces

from ardae_rl.environments import EnvDescription
from ardae_rl.runs.files import read_json, write_json
from ardae_rl.runs.versions import package_versions

_FILE = "environment.json"
_ENGINES = {"mujoco": ("mujoco",), "Box2D": ("box2d", "box2d-py")}  # distributions by module


def check_environment(env_id: str) -> None:
    """Check that an environment can be made and has continuous actions, as all algorithms of a benchmark need.

    :raises ValueError: If its actions are not continuous.
    """
    env = EnvDescription.of_id(env_id).make()
    try:
        if not isinstance(env.action_space, spaces.Box):
            raise ValueError(f"`envs` must have Box actions, got {env_id} with {env.action_space}")
    finally:
        env.close()


def keep_environment(folder: Path, env_id: str) -> None:
    """Record an environment's description in the folder of a run, or compare it with the description recorded there.

    :raises ValueError: If the id now refers to another environment: another class, arguments, limits or wrappers, or
        another version of its physics engine.
    """
    of_id = EnvDescription.of_id(env_id)
    description = of_id.record() | {"engine": engine_versions(of_id)}
    recorded = read_json(folder / _FILE)
    if recorded is None:
        write_json(folder / _FILE, description)
        return
    recorded.setdefault("engine", description["engine"])  # earlier versions of this package did not record it
    names = [name for name in {**recorded, **description} if recorded.get(name) != description.get(name)]
    if names:
        changes = ", ".join(f"{name} ({recorded.get(name)}, now {description.get(name)})" for name in names)
        raise ValueError(
            f"`env` must be the environment that the run in {folder} began with, got {env_id}, which differs in "
            f"{changes}"
        )


def recorded_engine(folder: Path) -> dict[str, str]:
    """Return the version of the physics engine that a run used, by distribution; empty if it used none."""
    engine: dict[str, str] = (read_json(folder / _FILE) or {}).get("engine", {})
    return engine


def engine_versions(description: EnvDescription) -> dict[str, str]:
    """Return the installed versions of the physics engines that an environment uses, by distribution."""
    env = description.make()
    try:
        modules = _modules(env.unwrapped)
    finally:
        env.close()
    installed = package_versions()
    names = [name for module, distributions in _ENGINES.items() if module in modules for name in distributions]
    return {name: installed[name] for name in names if name in installed}


def _modules(env: gym.Env[Any, Any]) -> set[str]:
    """Return the top-level modules that define the attributes of an environment, and the attributes of these."""
    attributes = list(vars(env).values())
    parts = chain.from_iterable(vars(attribute).values() for attribute in attributes if hasattr(attribute, "__dict__"))
    # Some types of Box2D have no __module__
    return {str(getattr(type(part), "__module__", "")).partition(".")[0] for part in (*attributes, *parts)}
