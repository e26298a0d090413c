"""Checks of RL Zoo's options before any work, for what RL Zoo would notice late, or not at all."""

from __future__ import annotations

import importlib.util
import inspect
import re
from itertools import zip_longest
from pathlib import Path

from ardae_rl import presets
from ardae_rl.cli.zoo_options import (
    CONF_FILE,
    HYPERPARAMS,
    STORAGE,
    literal_hyperparameters,
    option_values,
)
from ardae_rl.common.checks import check_count, check_min, check_number, check_output, check_output_folder
from ardae_rl.common.checks import check_device as require_device
from ardae_rl.common.optional import require
from ardae_rl.registry import algorithm_class

_COUNTS = (
    *("-n", "--n-timesteps", "--n-envs", "--n-eval-envs", "--eval-episodes"),
    *("--n-trials", "--max-total-trials", "--n-evaluations"),
)
_NOT_ZERO = {
    "--log-interval": "positive, -1 for the algorithm's default, or -2 for no log",
    "--n-jobs": "positive, or -1 for one job per core",
}


def check_device(arguments: list[str]) -> None:
    """Check the device.

    :param arguments: RL Zoo's options.
    :raises ValueError: If PyTorch knows no such device.
    """
    for device in option_values(arguments, "--device")[:1]:
        require_device("--device", device)


def check_conf_file(arguments: list[str], env_id: str) -> None:
    """Check the file of hyper-parameters, as far as it can be read without running it.

    :param arguments: RL Zoo's options.
    :param env_id: Id of the environment.
    :raises ValueError: For a file of the wrong kind, or without the number of steps.
    """
    for name in option_values(arguments, *CONF_FILE)[:1]:
        path = Path(name)
        if path.suffix in (".yml", ".yaml"):
            _check_block(path, env_id, option_values(arguments, *HYPERPARAMS))
        elif path.suffix == ".py" or (not path.exists() and _is_module(name)):
            continue
        else:
            raise ValueError(f"{CONF_FILE[0]} must be a .yml or .py file, or a module to import, got {name!r}")


def _check_block(path: Path, env_id: str, overriding: list[str]) -> None:
    """Check that a file has hyper-parameters for an environment, including the number of steps."""
    require("yaml", "zoo")
    import yaml

    try:
        blocks = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{CONF_FILE[0]} must be a file in YAML, got {path}: {error}") from error
    if not (isinstance(blocks, dict) and all(isinstance(block, dict) for block in blocks.values())):
        raise ValueError(f"{CONF_FILE[0]} must have a block of hyper-parameters per environment, got {path}")
    name = presets.block_of(blocks, env_id)
    given = any(value.startswith("n_timesteps:") for value in overriding)
    if name is not None and "n_timesteps" not in blocks[name] and not given:  # RL Zoo needs it even with -n
        keys = ", ".join(blocks[name])
        raise ValueError(f"{CONF_FILE[0]} must have n_timesteps for {env_id}, got {path}, which has {keys}")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def check_numbers(arguments: list[str]) -> None:
    """Check options that are numbers.

    RL Zoo silently replaces a negative number of steps by that of the hyper-parameters, and uses some other
    options as divisors.

    :param arguments: RL Zoo's options.
    :raises ValueError: If a number is out of its range.
    """
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, equals, text = argument.partition("=")
        text = text if equals else following
        if not re.fullmatch(r"[+-]?\d+", text):
            continue  # RL Zoo's parser refuses it
        if option in _COUNTS:
            check_count(option, int(text))
        elif option in _NOT_ZERO and int(text) == 0:
            raise ValueError(f"{option} must be {_NOT_ZERO[option]}, got 0")


def check_hyperparameters(algo: str, arguments: list[str]) -> None:
    """Check hyper-parameters that RL Zoo and SB3 use without a check, as far as they are literals.

    :param algo: Name of the algorithm.
    :param arguments: RL Zoo's options.
    :raises ValueError: If a number is out of its range.
    :raises TypeError: If a value is not a number, but RL Zoo or the constructor needs one.
    """
    kinds = _numbers(algorithm_class(algo))
    for name, value in literal_hyperparameters(arguments).items():
        label = f"{HYPERPARAMS[0]} {name}"
        if name == "n_timesteps":
            check_min(label, value, 1)  # also 1e6, which is a float
        elif name == "n_envs" or (name == "frame_stack" and value is not None):
            check_count(label, value)
        elif kinds.get(name) is int:
            check_count(label, value, -1)  # which means "automatic" to some
        elif kinds.get(name) is float:
            check_number(label, value)


def _numbers(algorithm: type) -> dict[str, type]:
    """Return the arguments of a constructor that are plain numbers, by name, and whether they are int or float.

    Where a constructor passes arguments on, those of the next class count, too.
    """
    kinds: dict[object, type | None] = {int: int, "int": int, float: float, "float": float}  # annotations can be text
    found: dict[str, type | None] = {}
    for cls in algorithm.__mro__:
        if "__init__" in vars(cls):
            parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
            for parameter in parameters:
                found.setdefault(parameter.name, kinds.get(parameter.annotation))
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                break
    return {name: kind for name, kind in found.items() if kind is not None}


def check_storage(arguments: list[str]) -> None:
    """Open the database of a hyper-parameter search, which creates the file of a new one.

    :param arguments: RL Zoo's options.
    :raises ValueError: If it cannot be opened.
    """
    for storage in option_values(arguments, *STORAGE)[:1]:
        if storage.endswith(".log"):  # of RL Zoo
            check_output(STORAGE[0], Path(storage))
            continue
        require("optuna", "zoo")
        from optuna.exceptions import OptunaError
        from optuna.storages import get_storage
        from sqlalchemy.exc import SQLAlchemyError

        try:
            get_storage(storage)
        except (SQLAlchemyError, OptunaError) as error:
            form = "the URL of a database, such as sqlite:///study.db, or a .log file"
            raise ValueError(f"{STORAGE[0]} must be {form}, got {storage!r}: {error}") from error


def check_folder(arguments: list[str], *names: str) -> None:
    """Check that the value of an option can be a folder to write to.

    :param arguments: RL Zoo's options.
    :param names: The option's names, the shortest first.
    :raises ValueError: If it is a file, or below a file.
    """
    for folder in option_values(arguments, *names)[:1]:
        check_output_folder(names[0], Path(folder))
