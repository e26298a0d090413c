"""RL Zoo with our algorithms in it: registration, and its scripts run in this process."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecVideoRecorder

from ardae_rl import presets
from ardae_rl.cli.env_kwargs import parsed
from ardae_rl.cli.zoo_checks import (
    check_conf_file,
    check_device,
    check_folder,
    check_hyperparameters,
    check_numbers,
    check_storage,
)
from ardae_rl.cli.zoo_options import (
    CONF_FILE,
    HYPERPARAMS,
    LOG_FOLDER,
    OPTIMIZATION_LOG,
    OPTIMIZE,
    STUDY_TRIAL,
    TENSORBOARD_LOG,
    TRAINED_AGENT,
    has_option,
    option_values,
)
from ardae_rl.common.checks import check_choice, close_matches
from ardae_rl.common.cpu import keep_freed_memory
from ardae_rl.common.optional import require
from ardae_rl.environments import EnvDescription
from ardae_rl.evaluation import playback_class
from ardae_rl.registry import OUR_ALGORITHMS, algorithm_class, environment_id, folder_name
from ardae_rl.runs.progress import progress_bar

FROM_DEMONSTRATIONS = tuple(name for name, algorithm in OUR_ALGORITHMS.items() if algorithm.needs_demonstrations)


def register(playback: bool = False) -> None:
    """Add our algorithms to RL Zoo's tables, which all of its scripts share.

    :param playback: For scripts that only act: load every off-policy algorithm with a replay buffer of one row.
        RL Zoo does so for the names it knows, but for others it would allocate the whole buffer.
    """
    require("rl_zoo3", "zoo")
    from rl_zoo3.hyperparams_opt import HYPERPARAMS_CONVERTER, HYPERPARAMS_SAMPLER
    from rl_zoo3.utils import ALGOS

    for name, algorithm in OUR_ALGORITHMS.items():
        ALGOS[name] = algorithm.load()
        if algorithm.search_space is not None:
            search_space = importlib.import_module(algorithm.search_space)
            HYPERPARAMS_SAMPLER[name] = search_space.sample
            HYPERPARAMS_CONVERTER[name] = search_space.convert
    if playback:
        for name, loaded in ALGOS.items():
            ALGOS[name] = playback_class(loaded)


def check_names(algo: str, env_id: str, arguments: list[str]) -> str:
    """Return the registered id of the environment, after importing everything that RL Zoo knows by name.

    :param algo: Name of the algorithm.
    :param env_id: Id of the environment, perhaps with its module.
    :param arguments: RL Zoo's options.
    :raises ValueError: For an unknown algorithm, environment or ``--gym-packages`` module.
    """
    algorithm_class(algo)
    require("rl_zoo3", "zoo")
    importlib.import_module("rl_zoo3.import_envs")
    for package in option_values(arguments, "--gym-packages"):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ValueError(f"--gym-packages must be modules to import, got {package!r}: {error}") from error
    return environment_id(env_id)


def check_arguments(algo: str, arguments: list[str], env_id: str) -> None:
    """Check what RL Zoo would notice late, or not at all.

    :param algo: Name of the algorithm.
    :param arguments: RL Zoo's options.
    :param env_id: Id of the environment.
    :raises ValueError: For a search with an algorithm that has no search space or in a database that cannot be opened,
        a number out of its range, an unknown device, or a path of the wrong kind.
    :raises TypeError: If a hyper-parameter is not a number, but must be one.
    :raises ImportError: If Weights & Biases is requested but not installed.
    """
    check_numbers(arguments)
    check_hyperparameters(algo, arguments)
    check_device(arguments)
    for agent in option_values(arguments, *TRAINED_AGENT)[:1]:
        if not (agent.endswith(".zip") and Path(agent).is_file()):
            raise ValueError(f"{TRAINED_AGENT[0]} must be the .zip of a saved model, got {agent}")
    check_conf_file(arguments, env_id)
    if has_option(arguments, *OPTIMIZE):
        require("rl_zoo3", "zoo")
        from rl_zoo3.hyperparams_opt import HYPERPARAMS_SAMPLER

        ours = [name for name, algorithm in OUR_ALGORITHMS.items() if algorithm.search_space is not None]
        check_choice("algo", algo, sorted({*HYPERPARAMS_SAMPLER, *ours}))
    if "--track" in arguments and importlib.util.find_spec("wandb") is None:
        raise ImportError("--track needs Weights & Biases: pip install wandb")
    for names in (LOG_FOLDER, TENSORBOARD_LOG, OPTIMIZATION_LOG):
        check_folder(arguments, *names)
    if has_option(arguments, *OPTIMIZE, *STUDY_TRIAL):
        check_storage(arguments)


def lost_buffer(algo: str, arguments: list[str]) -> str | None:
    """Return the notice that a continued training begins without its replay buffer, or None if it has one.

    RL Zoo saves the buffer only at the end of a training, and silently continues with an empty one if it is missing.

    :param algo: Name of the algorithm.
    :param arguments: RL Zoo's options.
    """
    for agent in option_values(arguments, *TRAINED_AGENT)[:1]:
        file = Path(agent).with_name("replay_buffer.pkl")
        if hasattr(algorithm_class(algo), "load_replay_buffer") and not file.exists():
            return f"{file} does not exist: training continues without earlier transitions"
    return None


def add_demonstrations(algo: str, source: str | None, arguments: list[str], env_id: str | None = None) -> None:
    """Add demonstrations to RL Zoo's hyper-parameters.

    :param algo: Name of the algorithm.
    :param source: A file or ``minari:ID``; None if ``arguments`` or a file name the demonstrations.
    :param arguments: RL Zoo's options, changed in place.
    :param env_id: Id of the environment that the demonstrations must fit.
    :raises ValueError: For demonstrations that the algorithm does not use, missing ones that it needs, and a source
        that has none or does not fit the environment.
    """
    if algo not in FROM_DEMONSTRATIONS:
        if source is not None:
            users = ", ".join(FROM_DEMONSTRATIONS)
            raise ValueError(f"`demonstrations` must be left out for {algo}, got {source!r}; they are for {users}")
        return
    if source is None:
        given = any(value.startswith("demonstrations:") for value in option_values(arguments, *HYPERPARAMS))
        if not given and not has_option(arguments, *CONF_FILE):
            raise ValueError(
                f"`demonstrations` must be given for {algo}: an .npz of `ardae-rl collect-demos`, or minari:ID"
            )
        return
    from ardae_rl.irl import load_trajectories
    from ardae_rl.irl.demonstrations import check_demonstrations_fit
    from ardae_rl.irl.trajectories import has_absorbing_states, match_absorbing_states

    trajectories = load_trajectories(source)  # before any work starts
    wrapped = any(value.startswith("env_wrapper:") for value in option_values(arguments, *HYPERPARAMS))
    if env_id is not None and not wrapped and not has_option(arguments, *CONF_FILE):
        make = EnvDescription.of_id(env_id, parsed(option_values(arguments, "--env-kwargs"))).make
        env = BaseAlgorithm._wrap_env(DummyVecEnv([make]), verbose=0)  # channels first, as the algorithm sees images
        if has_absorbing_states(env):
            trajectories = match_absorbing_states(trajectories, env.observation_space, env.action_space)
        check_demonstrations_fit(trajectories, env.observation_space, env.action_space)
        env.close()
    add_hyperparameter(arguments, f"demonstrations:{source!r}")


def add_hyperparameter(arguments: list[str], value: str) -> None:
    """Add ``NAME:VALUE`` to RL Zoo's ``-params``, in place; if the option is repeated, RL Zoo uses only the last."""
    places = [index for index, argument in enumerate(arguments) if argument.split("=")[0] in HYPERPARAMS]
    if not places:
        arguments += [HYPERPARAMS[0], value]
        return
    name, equals, first = arguments[places[-1]].partition("=")
    arguments[places[-1] : places[-1] + 1] = [name, value, *([first] if equals else [])]


def find_run(log_folder: Path, algo: str, env_id: str, exp_id: int, arguments: list[str]) -> int:
    """Return the number of the run to play: ``exp_id``, or for 0 the newest run that holds the model.

    RL Zoo looks only at the newest folder, and fails if that is left over from ``-optimize`` or a crash.

    :param log_folder: Folder that RL Zoo logged to.
    :param algo: Name of the algorithm.
    :param env_id: Id of the environment.
    :param exp_id: Number of the run, or 0.
    :param arguments: RL Zoo's options, of which ``--load-best`` and ``--load-checkpoint`` select other files.
    :raises ValueError: If no such run has the model.
    """
    if exp_id < 0 or log_folder.name == "rl-trained-agents":
        return exp_id  # RL Zoo's own layouts: no run folders, or downloaded ones
    env_name = folder_name(env_id)
    pattern = _model_pattern(env_name, arguments)
    runs = {run.name.removeprefix(f"{env_name}_"): run for run in (log_folder / algo).glob(f"{env_name}_*")}
    numbers = [int(number) for number, run in runs.items() if number.isdigit() and any(run.glob(pattern))]
    if not numbers:
        raise ValueError(
            f"`folder` must hold a trained model, but there is no {pattern} of {algo} on {env_id} under "
            f"{log_folder / algo}; train one first"
        )
    if exp_id and exp_id not in numbers:
        choices = ", ".join(map(str, sorted(numbers)))
        raise ValueError(f"`exp_id` must be one of {choices}, got {exp_id}, a run that has no {pattern}")
    return exp_id or max(numbers)


def run_folders(log_folder: Path, algo: str, env_id: str) -> set[Path]:
    """Return the folders of all runs in RL Zoo's layout: ``<env>_<number>``, with ``--uuid`` ``<env>_<number>_<id>``.

    :param log_folder: Folder that RL Zoo logs to.
    :param algo: Name of the algorithm.
    :param env_id: Id of the environment.
    """
    form = re.compile(re.escape(folder_name(env_id)) + r"_\d+(_[0-9a-f-]{36})?")
    return {run for run in (log_folder / algo).glob("*") if form.fullmatch(run.name)}


def _model_pattern(env_name: str, arguments: list[str]) -> str:
    """Return the glob of the file that RL Zoo will load."""
    if has_option(arguments, "--load-best"):
        return "best_model.zip"
    if has_option(arguments, "--load-checkpoint", "--load-last-checkpoint"):
        steps = option_values(arguments, "--load-checkpoint") or ["*"]
        return f"rl_model_{steps[0]}_steps.zip"
    return f"{env_name}.zip"


def has_display() -> bool:
    """Return whether a window can be opened."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def run_script(script: str, arguments: list[str]) -> None:
    """Run ``rl_zoo3.<script>`` with our algorithms registered.

    It uses runpy, because ``record_video`` has no function to call and ``rl_zoo3.cli`` needs seaborn for any command.
    """
    acts_only = script != "train"
    register(playback=acts_only)
    keep_freed_memory()
    if not has_display():
        os.environ.setdefault("MUJOCO_GL", "egl")  # Gymnasium tries the window system first and then fails
    command, sys.argv = sys.argv, [f"ardae-rl {script}", *map(str, arguments)]
    try:
        with _errors_of_options(), _safe_records() if acts_only else nullcontext(), _recording_progress():
            runpy.run_module(f"rl_zoo3.{script}", run_name="__main__", alter_sys=True)
    except Exception as error:
        if isinstance(error, AttributeError) and "'pbar'" in str(error) and error.__context__ is not None:
            raise error.__context__ from None  # before the first step, RL Zoo fails to close its progress bar
        if type(error).__module__.startswith("wandb."):  # for example, if no key is configured
            raise ValueError(f"--track: {error}") from error
        raise
    finally:
        sys.argv = command


@contextmanager
def _safe_records() -> Iterator[None]:
    """Make RL Zoo read the records of a run, ``config.yml`` and ``args.yml``, without running code in their YAML."""
    import yaml

    unsafe, yaml.UnsafeLoader = yaml.UnsafeLoader, presets.zoo_loader()  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        yaml.UnsafeLoader = unsafe  # type: ignore[misc]


@contextmanager
def _recording_progress() -> Iterator[None]:
    """Show how many steps of RL Zoo's video are recorded. When it is written, the bar makes room for moviepy's."""
    capture, bar = VecVideoRecorder._capture_frame, ExitStack()
    updates: list[Callable[[int], None]] = []

    def capture_and_show(recorder: VecVideoRecorder) -> None:
        capture(recorder)
        if not updates:
            updates.append(bar.enter_context(progress_bar("video: steps", recorder.video_length, True)))
        updates[0](recorder.step_id)
        if recorder.step_id == recorder.video_length:
            bar.close()

    VecVideoRecorder._capture_frame = capture_and_show  # type: ignore[method-assign, assignment]
    try:
        with bar:
            yield
    finally:
        VecVideoRecorder._capture_frame = capture  # type: ignore[method-assign]


@contextmanager
def _errors_of_options() -> Iterator[None]:
    """Make RL Zoo's parser raise a ValueError instead of printing its usage, also for values that are not Python.

    It refuses abbreviated options (``--conf``) and values without a space (``-flogs``), which our checks would miss.
    """
    from rl_zoo3.utils import StoreDict

    error, store = argparse.ArgumentParser.error, StoreDict.__call__
    abbreviated = argparse.ArgumentParser._get_option_tuples

    def raise_error(parser: argparse.ArgumentParser, message: str) -> None:
        unknown = re.match(r"unrecognized arguments: (-\S+)", message)
        options = [name for action in parser._actions for name in action.option_strings]
        matches = difflib.get_close_matches(unknown[1].split("=")[0], options, n=3) if unknown else []
        raise ValueError(message + close_matches(matches))

    def store_checked(action: Any, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        try:
            store(action, parser, namespace, values, option)
        except (NameError, SyntaxError, TypeError, ValueError) as failure:
            form = "NAME:VALUE with a value in Python (text in quotes)"
            raise ValueError(f"{option} must have the form {form}, got {' '.join(values)!r}: {failure}") from failure

    argparse.ArgumentParser.error = raise_error  # type: ignore[method-assign, assignment]
    argparse.ArgumentParser._get_option_tuples = lambda *_: []  # type: ignore[method-assign]
    StoreDict.__call__ = store_checked
    try:
        yield
    finally:
        argparse.ArgumentParser._get_option_tuples = abbreviated  # type: ignore[method-assign]
        argparse.ArgumentParser.error, StoreDict.__call__ = error, store  # type: ignore[method-assign]
