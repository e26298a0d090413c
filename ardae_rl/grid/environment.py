"""The environment of a benchmark's run: its whole description is kept in the run's folder, not only its id."""

from pathlib import Path

from gymnasium import spaces

from ardae_rl.environments import EnvDescription
from ardae_rl.runs.files import read_json, write_json

_FILE = "environment.json"


def check_environment(env_id: str) -> None:
    """Check that an environment can be made and has continuous actions, as all algorithms of a benchmark need.

    :raises ValueError: If its actions are others.
    """
    env = EnvDescription.of_id(env_id).make()
    try:
        if not isinstance(env.action_space, spaces.Box):
            raise ValueError(f"`envs` must have Box actions, got {env_id} with {env.action_space}")
    finally:
        env.close()


def keep_environment(folder: Path, env_id: str) -> None:
    """Record what an id stands for in the folder of a run, or compare it with the record that is there.

    :raises ValueError: If the id stands for another environment now: another class, arguments, limits or wrappers.
    """
    description = EnvDescription.of_id(env_id).record()
    recorded = read_json(folder / _FILE)
    if recorded is None:
        write_json(folder / _FILE, description)
        return
    names = [name for name in {**recorded, **description} if recorded.get(name) != description.get(name)]
    if names:
        changes = ", ".join(f"{name} ({recorded.get(name)}, now {description.get(name)})" for name in names)
        raise ValueError(
            f"`env` must be what it was when the run in {folder} began, but {env_id} has another {changes}"
        )
