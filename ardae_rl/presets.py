"""The hyper-parameter files of ``zoo_configs/``, and the one reader that turns a block of them into arguments.

The files keep to the part of RL Zoo's format that needs no ``eval``, and RL Zoo's own loader reads them the same way:
keyword arguments are YAML mappings, activation functions go by name, a number such as ``1e-4`` carries the tag
``!!float``, and a learning rate that decays linearly to zero is written ``lin_3e-4``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from ardae_rl.common.optional import require
from ardae_rl.registry import ALGORITHMS, OUR_ALGORITHMS

if TYPE_CHECKING:
    from yaml import SafeLoader

# Keys that RL Zoo uses itself, for the environment or the run, and does not pass to the constructor
_ZOO_KEYS = frozenset(
    "n_timesteps n_envs normalize frame_stack env_wrapper vec_env_wrapper env_kwargs monitor_kwargs callback".split()
)
_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "delta_std")
_MAPPINGS = ("policy_kwargs", "replay_buffer_kwargs")
_UNSUPPORTED = ("noise_type", "noise_std", "replay_buffer_class")


def config_dir() -> Path:
    """Return the folder of the ``<algo>.yml`` files: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent
    for folder in (package / "zoo_configs", package.parent / "zoo_configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"there is no folder zoo_configs in {package} or {package.parent}")


def config_file(algo: str, preset: str | None = None) -> Path:
    """Return the hyper-parameter file of an algorithm: ours, RL Zoo's for a stock algorithm, or a named preset.

    :param algo: Name of the algorithm, e.g. ``"sac_ardae"``.
    :param preset: Name of a preset, e.g. ``"paper"`` for ``sac_ardae_paper.yml``.
    :raises ValueError: For a preset that the algorithm does not have.
    """
    if preset is None:
        if algo in OUR_ALGORITHMS:
            return config_dir() / f"{algo}.yml"
        require("rl_zoo3", "zoo")
        import rl_zoo3

        return Path(rl_zoo3.__file__).parent / "hyperparams" / f"{algo}.yml"
    presets = {path.stem.removeprefix(f"{algo}_"): path for path in config_dir().glob("*.yml") if owner(path) == algo}
    presets.pop(algo, None)
    if not presets:
        raise ValueError(f"`preset` must be None for {algo}, which has no presets, got {preset!r}")
    if preset not in presets:
        raise ValueError(f"`preset` must be one of {', '.join(map(repr, sorted(presets)))}, got {preset!r}")
    return presets[preset]


def owner(config: Path) -> str | None:
    """Return the algorithm that a file is for: sac_ardae for ``sac_ardae.yml`` and ``sac_ardae_paper.yml``."""
    names = [name for name in ALGORITHMS if config.stem == name or config.stem.startswith(f"{name}_")]
    return max(names, key=len, default=None)


def used_block(config: Path, env_id: str) -> str:
    """Return a line that says which block of a file an environment uses: its own block, ``atari`` or ``default``.

    :raises ValueError: If the file has neither.
    """
    blocks = _read(config)
    block = _known_block(blocks, config, env_id)
    if block == env_id:
        return f"{config.name}: hyper-parameters of block {env_id!r}"
    name = re.sub(r"-v\d+$", "", env_id)
    versions = [key for key in blocks if re.fullmatch(re.escape(name) + r"-v\d+", key)]
    hint = f" (it has {', '.join(versions)})" if versions else ""
    return f"{config.name}: no block {env_id!r}{hint}; hyper-parameters of block {block!r}"


def block_of(blocks: Collection[str], env_id: str) -> str | None:
    """Return the block that RL Zoo uses: the environment's, ``atari`` for a game, or ``default``; None without any."""
    spec = gym.registry.get(env_id)
    is_game = spec is not None and "AtariEnv" in str(spec.entry_point)
    candidates = (env_id, "atari", "default") if is_game else (env_id, "default")
    return next((block for block in candidates if block in blocks), None)


def _known_block(blocks: Collection[str], config: Path, env_id: str) -> str:
    block = block_of(blocks, env_id)
    if block is None:
        raise ValueError(f"`env_id` must be one of {', '.join(blocks)}, the blocks of {config.name}, got {env_id!r}")
    return block


def constructor_arguments(algo: str, env_id: str, preset: str | None = None) -> tuple[dict[str, Any], int]:
    """Return the keyword arguments of an algorithm's constructor, and the number of environment steps to train for.

    Without a block for the environment, ``atari`` is used for a game, else ``default``, and a warning says so. What a
    block sets for the environment itself (wrappers, normalization) is left out.

    Example:

    >>> from ardae_rl.presets import constructor_arguments
    >>> constructor_arguments("sac_ardae", "Pendulum-v1")
    ({'policy': 'MlpPolicy', 'learning_rate': 0.001}, 20000)

    :param algo: Name of the algorithm, e.g. ``"sac_ardae"``.
    :param env_id: Id of the environment.
    :param preset: Name of a preset, e.g. ``"paper"``.
    :raises ValueError: For an unknown preset, an environment that it has no block for, or a block that uses Python
        expressions, as some files of RL Zoo do.
    """
    config = config_file(algo, preset)
    blocks = _read(config)
    name = _known_block(blocks, config, env_id)
    if name != env_id:
        warnings.warn(used_block(config, env_id), stacklevel=2)
    block = blocks[name]
    arguments = {name: value for name, value in block.items() if name not in _ZOO_KEYS}
    for name in arguments.keys() & {*_MAPPINGS, *_UNSUPPORTED}:
        if name in _UNSUPPORTED or not isinstance(arguments[name], Mapping):
            raise ValueError(f"{config.name} has `{name}` in a form that only RL Zoo reads, got {arguments[name]!r}")
    for name in arguments.keys() & {*_SCHEDULES}:
        arguments[name] = _schedule(arguments[name])
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    return arguments, int(block["n_timesteps"])


def overridden(arguments: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Return ``arguments`` with the values of ``NAME=VALUE`` assignments; those of a mapping are merged into it.

    Example:

    >>> from ardae_rl.presets import overridden
    >>> overridden({"policy_kwargs": {"z_dim": 32, "width": 8}}, ["policy_kwargs.z_dim=64", "sigma=1e-1"])
    {'policy_kwargs': {'z_dim': 64, 'width': 8}, 'sigma': 0.1}

    :param arguments: Keyword arguments of a constructor.
    :param assignments: YAML values by name. A dot in a name leads into a mapping.
    :raises ValueError: For an assignment without a name or an equals sign, or whose value is not YAML.
    """
    loader = _loader()
    import yaml

    result = dict(arguments)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals):
            raise ValueError(f"`assignments` must have the form NAME=VALUE, got {assignment!r}")
        try:
            value = yaml.load(text, loader)
        except yaml.YAMLError as error:
            raise ValueError(f"`assignments` must have values in YAML, got {assignment!r}") from error
        for part in reversed(name.split(".")):
            value = {part: value}
        result = _merged(result, value)
    return result


def zoo_record(text: str) -> dict[str, Any]:
    """Return the dictionary that RL Zoo wrote as a Python object in YAML, see :func:`zoo_loader`."""
    loader = zoo_loader()
    import yaml

    record: Any = yaml.load(text, loader)
    return dict(record) if isinstance(record, dict | list) else {}


@cache
def zoo_loader() -> type[SafeLoader]:
    """Return a loader for Python objects that RL Zoo wrote in YAML. It runs no code from the file.

    Values other than numbers, text, lists, tuples and dictionaries become lists of their arguments, or None.
    """
    require("yaml", "zoo")
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def other(loader: Any, suffix: str, node: Any) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return None
        values = loader.construct_sequence(node, deep=True)
        if suffix == "object/apply:collections.OrderedDict":
            return dict(*values)
        return tuple(values) if suffix == "tuple" else values

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", other)
    return Loader


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        name: _merged(old[name], new[name]) for name in new if _is_mapping(old.get(name)) and _is_mapping(new[name])
    }
    return {**old, **new, **both}


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _schedule(value: Any) -> Any:
    """Return a number as it is, and "lin_3e-4" as a schedule that falls linearly to zero."""
    if not isinstance(value, str):
        return value
    from stable_baselines3.common.utils import LinearSchedule

    name, _, start = value.partition("_")
    if name != "lin":
        raise ValueError(f"a schedule must be a number or have the form lin_3e-4, got {value!r}")
    return LinearSchedule(float(start), 0.0, 1.0)


def _read(config: Path) -> dict[str, dict[str, Any]]:
    loader = _loader()
    import yaml

    blocks: dict[str, dict[str, Any]] = yaml.load(config.read_text(), loader)
    return blocks


@cache
def _loader() -> type[SafeLoader]:
    """Return YAML's safe loader, except that ``1e-4`` is a number, not text as in YAML 1.1."""
    require("yaml", "zoo")
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader
