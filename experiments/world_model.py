"""World models that experiments share: data, vision and memory are made once and then loaded from their folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ardae_rl.presets import constructor_arguments, overridden
from ardae_rl.world_models import WorldModels

# Overrides for the smallest budget
TINY = (
    "n_episodes=2",
    "n_workers=0",
    "n_envs=2",
    "vision_kwargs.n_steps=2",
    "memory_kwargs.n_steps=2",
    "memory_kwargs.sequence_length=5",
    "search_kwargs.n_generations=1",
    "search_kwargs.population_size=3",
    "search_kwargs.seeds_per_generation=1",
    "search_kwargs.n_held_out=1",
    "policy_kwargs.z_dim=4",
    "policy_kwargs.vision_width=4",
    "policy_kwargs.memory_hidden=8",
)


def base_settings(env: str, seed: int, defaults: Sequence[str], arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings of the run that makes the world model that other runs need.

    :param defaults: Changes of the arguments in zoo_configs/world_models.yml, as ``name=value``.
    :param arguments: Further changes, from the experiment's options. They are part of the run's name.
    """
    name = run_name(f"world model seed{seed}", arguments)
    return {"name": name, "env": env, "seed": seed, "arguments": [*defaults, *arguments]}


def run_name(name: str, arguments: Sequence[str]) -> str:
    """Return the name of a run with these changes, so that runs with other changes have other folders."""
    return " ".join([name, *arguments])


def make_model(settings: dict[str, Any], folder: Path) -> WorldModels:
    """Return a world model whose data and checkpoints are, or will be, in the folder of its run.

    :param settings: Made by :func:`base_settings`.
    """
    arguments, _ = constructor_arguments("world_models", settings["env"])
    arguments = overridden(arguments, settings["arguments"])
    path = folder / "world_model"
    return WorldModels(env=settings["env"], folder=path, seed=settings["seed"], verbose=1, **arguments)


def finished_model(settings: dict[str, Any], folder: Path, memory: bool = False) -> WorldModels:
    """Return a world model with its data and its trained vision; whatever exists already is loaded.

    Runs that need the same model at the same time wait for each other.

    :param settings: Made by :func:`base_settings`.
    :param folder: Folder of the run that makes the model.
    :param memory: Whether its memory is trained, too.
    """
    model = make_model(settings, folder)
    with model.exclusive(timeout=-1):
        model.collect()
        model.train_vision()
        if memory:
            model.train_memory()
    return model
