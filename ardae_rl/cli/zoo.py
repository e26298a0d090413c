"""RL Zoo with our algorithms in it: registration, hyper-parameter files, and its scripts run in this process."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from itertools import takewhile
from pathlib import Path

from ardae_rl.common.optional import require
from ardae_rl.evaluation import playback_class
from ardae_rl.registry import OUR_ALGORITHMS, algorithm_class, environment_id

FROM_DEMONSTRATIONS = ("airl", "gail", "gan_gcl")


def register(playback: bool = False) -> None:
    """Put our algorithms into RL Zoo's tables, which all of its scripts share.

    :param playback: for scripts that only act: load every off-policy algorithm with a replay buffer of one row.
        RL Zoo does so for the names it knows, and would fill the memory with an empty buffer for all others.
    """
    require("rl_zoo3", "zoo")
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    from ardae_rl.cli import samplers as zoo_samplers

    ALGOS.update({name: algorithm_class(name) for name in OUR_ALGORITHMS})
    HYPERPARAMS_SAMPLER.update(zoo_samplers.SAMPLERS)
    HYPERPARAMS_CONVERTER.update(zoo_samplers.CONVERTERS)
    if playback:
        for name, algorithm in ALGOS.items():
            ALGOS[name] = playback_class(algorithm)


def check_names(algo: str, env: str, arguments: list[str]) -> str:
    """The registered id of ``env``, after everything that RL Zoo knows by name has been imported.

    :raises ValueError: for an unknown algorithm, environment or ``--gym-packages`` module
    """
    algorithm_class(algo)
    require("rl_zoo3", "zoo")
    importlib.import_module("rl_zoo3.import_envs")
    for package in option_values(arguments, "--gym-packages"):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ValueError(f"--gym-packages: cannot import {package!r}: {error}") from error
    return environment_id(env)


def add_demonstrations(algo: str, source: str | None, arguments: list[str]) -> None:
    """Put demonstrations among RL Zoo's hyper-parameters.

    :param source: a file, or ``minari:ID``; None for those that ``arguments`` or a file have
    :param arguments: RL Zoo's options, changed in place
    :raises ValueError: for an algorithm that has no use for them, one that lacks them, and a source without any
    """
    if algo not in FROM_DEMONSTRATIONS:
        if source is not None:
            raise ValueError(f"--demos: {algo} learns without; accepted with it are {', '.join(FROM_DEMONSTRATIONS)}")
        return
    if source is None:
        given = any(value.startswith("demonstrations:") for value in option_values(arguments, "-params"))
        if not given and not has_option(arguments, "-conf", "--conf-file"):
            raise ValueError(f"--demos: missing; {algo} learns from an .npz of `ardae-rl collect-demos`, or minari:ID")
        return
    from ardae_rl.irl import load_trajectories

    load_trajectories(source)  # before any work starts
    if "-params" not in arguments:
        arguments.append("-params")
    arguments.insert(arguments.index("-params") + 1, f"demonstrations:{source!r}")


def find_run(folder: Path, algo: str, env_id: str, exp_id: int, arguments: list[str]) -> int:
    """Number of the run to play: ``exp_id``, or for 0 the newest that holds the wanted model.

    RL Zoo takes the newest folder alone, and stops when that one is left over from ``-optimize`` or a crash.

    :param arguments: RL Zoo's options, of which ``--load-best`` and ``--load-checkpoint`` want other files
    :raises ValueError: when no such run has the model
    """
    if exp_id < 0 or folder.name == "rl-trained-agents":
        return exp_id  # RL Zoo's own layouts: no run folders, or downloaded ones
    env_name = env_id.replace("/", "-")
    pattern = _model_pattern(env_name, arguments)
    runs = {run.name.removeprefix(f"{env_name}_"): run for run in (folder / algo).glob(f"{env_name}_*")}
    numbers = [int(number) for number, run in runs.items() if number.isdigit() and any(run.glob(pattern))]
    if not numbers:
        raise ValueError(f"--folder: no {pattern} of {algo} on {env_id} under {folder / algo}; train one first")
    if exp_id and exp_id not in numbers:
        accepted = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"--exp-id: run {exp_id} of {algo} on {env_id} has no {pattern}; accepted: {accepted}")
    return exp_id or max(numbers)


def _model_pattern(env_name: str, arguments: list[str]) -> str:
    """Glob of the file that RL Zoo will load."""
    if has_option(arguments, "--load-best"):
        return "best_model.zip"
    if has_option(arguments, "--load-checkpoint", "--load-last-checkpoint"):
        steps = option_values(arguments, "--load-checkpoint") or ["*"]
        return f"rl_model_{steps[0]}_steps.zip"
    return f"{env_name}.zip"


def has_display() -> bool:
    """Whether a window can be opened."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def run_script(script: str, arguments: list[str]) -> None:
    """Run ``rl_zoo3.<script>`` with our algorithms registered.

    Through runpy, because ``record_video`` has no function to call and ``rl_zoo3.cli`` needs seaborn for anything.
    """
    register(playback=script != "train")
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")  # Gymnasium tries the window system first and then fails
    command, sys.argv = sys.argv, [f"ardae-rl {script}", *map(str, arguments)]
    try:
        runpy.run_module(f"rl_zoo3.{script}", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = command


def has_option(arguments: list[str], *names: str) -> bool:
    """Whether one of the options stands among ``arguments``, as ``name`` or ``name=value``."""
    return any(argument.split("=")[0] in names for argument in arguments)


def option_values(arguments: list[str], name: str) -> list[str]:
    """The values of option ``name``: those after it up to the next option, or the one in ``name=value``."""
    for index, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option == name:
            return [value] if value else list(takewhile(lambda other: other[:1] != "-", arguments[index + 1 :]))
    return []
